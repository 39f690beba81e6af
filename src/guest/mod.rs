//! The supervisor inside.
