//! Trees on the host: pristine copies, overlay layers, checkpoints, change lists, patches.
//!
//! Nothing here runs anything it finds, follows a link, or trusts a name; every
//! walk goes descriptor by descriptor (openat(2), `O_NOFOLLOW`) and is bounded.

mod entry;
mod stub;

pub use entry::{Change, ChangeKind, Content, Entry, EntryKind, Manifest};
pub use stub::*;
