# Stops the service and waits until it is gone.
set -eu
pid=$(python3 -c 'import json; print(json.load(open(".aider_fsm/runtime_env.json"))["pid"])')
kill "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
echo "stopped $pid"
