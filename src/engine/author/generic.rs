//! The contract that this program writes itself: stages that need no code of the repository.

/// It runs the generic rollout and the generic evaluation, and says so.
pub(super) const CONTRACT: &str = "\
# Written by opencode-fsm in place of a contract: the repository has none. Its stages need no
# code of the repository; what they measure is said in their outputs.
version: 1
security:
  max_cmd_seconds: 7200
  max_total_seconds: 86400
rollout:
  generic: true
evaluation:
  generic: true
  metrics_path: .aider_fsm/metrics.json
  required_keys: [score, ok]
";
