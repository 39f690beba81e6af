//! Generic rollouts: a data set asked and scored, failures of models, half-done rollouts, what a
//! deployment serves, hostile data, and samples that are demanded.

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/program.rs"]
mod program;

#[path = "rollout/demanded.rs"]
mod demanded;
#[path = "rollout/failures.rs"]
mod failures;
#[path = "rollout/hostile.rs"]
mod hostile;
#[path = "rollout/scored.rs"]
mod scored;
#[path = "rollout/served.rs"]
mod served;
#[path = "rollout/target.rs"]
mod target;
