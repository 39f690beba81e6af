# Starts the service and leaves it running.
set -eu
cd "$AIDER_FSM_REPO_ROOT"
mkdir -p .aider_fsm
python3 service/server.py >"$AIDER_FSM_ARTIFACTS_DIR/server.log" 2>&1 &
echo "started $!"
