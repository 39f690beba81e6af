//! Contracts that an agent writes, and those that it repairs.
//!
//! | file | holds |
//! |---|---|
//! | `options` | what the user asks for |
//! | `pen` | [`Author`]: one turn of an agent that writes, and what stays of it |
//! | `check` | what is wrong with what it wrote |
//! | `scaffold` | attempts at a contract where there is none |
//! | `of_run` | the same before the loop of a run |
//! | `repair` | one repair of what a contract runs |
//! | `generic` | the contract that this program writes itself |
//! | `provenance`, `trace` | who wrote each file, with hashes; what the agent's tools did |

mod check;
mod generic;
mod of_run;
mod options;
mod pen;
mod provenance;
mod repair;
mod scaffold;
mod trace;

pub(super) use of_run::{OfRun, of_run};
pub use options::{Authoring, Scaffold, ScaffoldBy, Scribe};
pub(super) use pen::{Author, Ledgers};
pub(super) use provenance::lines;
pub use provenance::{By, ContractFile, FileStatus, Provenance, RepairProvenance};
pub use repair::Repaired;
pub(super) use repair::{Repair, RepairAsked};
pub(super) use scaffold::Scaffolding;
