#!/bin/sh
# Rollout: one sample a case, as JSON lines, and a summary of them.
set -eu
cd "$(dirname "$0")/.."
: "${AIDER_FSM_ARTIFACTS_DIR:=.aider_fsm/artifacts}"
mkdir -p .aider_fsm "$AIDER_FSM_ARTIFACTS_DIR"
samples=$AIDER_FSM_ARTIFACTS_DIR/rollout_samples.jsonl
results=$(sh eval/run_cases.sh)

count=0
correct=0
: >"$samples"
while IFS='|' read -r expected found text; do
    reward=0
    if [ "$expected" = "$found" ]; then
        reward=1
        correct=$((correct + 1))
    fi
    count=$((count + 1))
    # The texts hold letters, spaces and \t only, so they are JSON strings as they are.
    printf '{"prompt": "How many words: %s", "completion": "%s", "reward": %s}\n' "$text" "$found" "$reward" >>"$samples"
done <<EOT
$results
EOT

cat >.aider_fsm/rollout.json <<EOT
{
  "ok": true,
  "mode": "count_words",
  "counts": {"samples": $count, "correct": $correct},
  "paths": {"samples_jsonl": "$samples"}
}
EOT
echo "$count samples, $correct correct"
