//! stub
/// v
#[derive(Clone, Copy)]
pub enum Variant {
    /// f
    Full,
}
/// r
pub struct ImageRef {
    /// r
    pub reference: String,
}
/// e
#[derive(Debug, thiserror::Error)]
#[error("no image")]
pub struct ImageError;
/// e
pub async fn ensure(_: &bollard::Docker, _: Variant, _: &dyn Fn(&str)) -> Result<ImageRef, ImageError> {
    Err(ImageError)
}
/// f
pub async fn find(_: &bollard::Docker, _: Variant) -> Result<Option<ImageRef>, ImageError> {
    Ok(None)
}
