//! Targets as users name them: repositories, archives and data sets, from servers of this
//! machine that redirect, break off, refuse and lie.

#[path = "targets/archives.rs"]
mod archives;
#[path = "targets/bench.rs"]
mod bench;
#[path = "targets/git.rs"]
mod git;
#[path = "targets/github.rs"]
mod github;
#[path = "targets/history.rs"]
mod history;
#[path = "targets/hostile.rs"]
mod hostile;
#[path = "targets/hub.rs"]
mod hub;
#[path = "targets/names.rs"]
mod names;
#[path = "support/program.rs"]
mod program;
#[path = "targets/server.rs"]
mod server;
