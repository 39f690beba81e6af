//! Trees on the host: pristine copies, overlay layers, checkpoints, change lists, patches.
//!
//! Nothing here runs anything it finds, follows a link, or trusts a name; every
//! walk goes descriptor by descriptor (openat(2), `O_NOFOLLOW`) and is bounded.
//!
//! | file | holds |
//! |---|---|
//! | `entry`, `manifest`, `state` | what a tree holds, its encoding, and differences as arithmetic |
//! | `at`, `walk`, `content`, `remove` | file calls without links, the bounded walk, bytes, removal |
//! | `pristine` | [`Pristine`]: what everything of a run stands on |
//! | `cache`, `survey`, `ingest` | the pristine copy: remembered, looked over, copied |
//! | `prune` | what goes from the cache |
//! | `layers` | [`BaseLayer`]: what was made once over a copy, remembered likewise |
//! | `checkpoint`, `freeze`, `layer`, `edits` | frozen states: read, made, written, taken back |
//! | `copy` | a workspace that is a copy, where overlay cannot be had |
//! | `patch`, `export`, `apply` | what comes out |
//! | `steps` | accepted states kept with a run, and what differs between them |
//! | `inventory` | what a directory of records holds |
//! | `archive` | archives of our own, the same bytes every time |
//! | `unpack`, `tar_reader`, `zip_reader` | hostile archives |

mod apply;
mod archive;
mod at;
mod cache;
mod checkpoint;
mod content;
mod copy;
mod edits;
mod entry;
mod error;
mod export;
mod freeze;
mod ingest;
mod inventory;
mod layer;
mod layers;
mod limits;
mod link;
mod manifest;
mod patch;
mod pristine;
mod prune;
mod remove;
mod state;
mod steps;
mod survey;
pub mod tar_reader;
mod unpack;
mod walk;
pub mod zip_reader;

#[cfg(test)]
mod tests;

pub use apply::apply_to;
pub use archive::{Archive, ArchiveError, ArchiveWriter, Section};
pub use cache::Cache;
pub use checkpoint::Checkpoint;
pub use copy::lay_copy;
pub use edits::TreeEdits;
pub use entry::{Change, ChangeKind, Content, Entry, EntryKind, Manifest};
pub use error::TreeError;
pub use export::{ExportCaps, export};
pub use freeze::{Place, Survey};
pub use inventory::{Item, inventory, open_record};
pub use layer::mask_layer;
pub use layers::{BaseLayer, Claim};
pub use limits::{CopyLimits, CopyProgress};
pub use patch::patch;
pub use pristine::Pristine;
pub use remove::{remove_all, usage};
pub use steps::{Kept, Step, StepWriter, Steps};
pub use unpack::{ArchiveLimits, Unpacked};
