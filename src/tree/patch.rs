use super::*;
pub fn patch(_p: &Pristine, _from: &Checkpoint, _to: &Checkpoint, _changes: &[Change]) -> Result<Vec<u8>, TreeError> {
    unimplemented!()
}
