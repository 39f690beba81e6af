#!/bin/sh
# Evaluation: runs every case and writes the share that passed.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .aider_fsm
results=$(sh eval/run_cases.sh)

cases=0
passed=0
while IFS='|' read -r expected found text; do
    cases=$((cases + 1))
    if [ "$expected" = "$found" ]; then
        passed=$((passed + 1))
    else
        echo "case '$text': expected $expected, found $found"
    fi
done <<EOT
$results
EOT

percent=$((passed * 100 / cases))
score=$(printf '%d.%02d' $((percent / 100)) $((percent % 100)))
ok=false
if [ "$percent" -ge 80 ]; then
    ok=true
fi

cat >.aider_fsm/metrics.json <<EOT
{
  "ok": $ok,
  "score": $score,
  "counts": {"cases": $cases, "passed": $passed}
}
EOT
echo "score $score ($passed of $cases cases)"
[ "$ok" = true ]
