//! Where targets come from. So far: the demonstration repository that is part of the program.
#![forbid(unsafe_code)]

mod demo;

pub use demo::write_demo;
