use super::*;
use crate::names::RelPath;
use std::path::Path;
pub fn export(
    _p: &Pristine,
    _from: &Checkpoint,
    _changes: &[Change],
    _dir: &Path,
    _max_bytes: u64,
) -> Result<Vec<(RelPath, String)>, TreeError> {
    unimplemented!()
}
