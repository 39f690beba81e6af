//! (to be built)

mod demo;

pub use demo::write_demo;
