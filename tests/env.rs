//! The env API: sessions from Rust, over the protocol and from Python; `evaluate`; suites.

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "env/evaluate.rs"]
mod evaluate;
#[path = "support/program.rs"]
mod program;
#[path = "env/python.rs"]
mod python;
#[path = "env/serve.rs"]
mod serve;
#[path = "env/suite.rs"]
mod suite;
#[path = "env/target.rs"]
mod target;
