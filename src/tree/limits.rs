//! Bounds on a copied target.
#![forbid(unsafe_code)]

/// Bounds on a copied target; beyond them nothing is copied.
#[derive(Clone, Debug)]
pub struct CopyLimits {
    /// Entries of every kind.
    pub max_files: u64,
    /// Bytes in regular files, holes counted.
    pub max_bytes: u64,
}

/// Called after each file with files and bytes so far; from several threads.
pub type CopyProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);
