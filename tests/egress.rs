//! The egress door, with real sandboxes, servers of our own on the loopback and a name server
//! that answers from a table. Each refusal has its line in the ledger, and a control beside it
//! that the same attempt succeeds where a rule allows it.

#[path = "support/program.rs"]
mod program;
mod support;

#[path = "egress/limits.rs"]
mod limits;
#[path = "egress/names.rs"]
mod names;
#[path = "egress/plain.rs"]
mod plain;
#[path = "egress/runs.rs"]
mod runs;
#[path = "egress/servers.rs"]
mod servers;
#[path = "egress/shared.rs"]
mod shared;
#[path = "egress/tunnels.rs"]
mod tunnels;
#[path = "egress/world.rs"]
mod world;
