//! Contracts that the agent writes and repairs: the real program, the real OpenCode, real
//! jails; the model is a cassette.

#[path = "scaffold/distributions.rs"]
mod distributions;
#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/program.rs"]
mod program;
#[path = "scaffold/repair.rs"]
mod repair;
#[path = "scaffold/repository.rs"]
mod repository;
#[path = "support/sdists.rs"]
mod sdists;
#[path = "scaffold/write.rs"]
mod write;
