use super::*;
use std::path::Path;
pub fn apply_to(_target: &Path, _files: &Path, _changes: &[Change]) -> Result<(), TreeError> {
    unimplemented!()
}
