//! Hostile bytes for whatever reads them: inputs that are kept, and new ones made of those.
//!
//! Every run of the tests tries the kept inputs (`tests/fuzz/corpus/TARGET/`) and some thousand
//! changes of them. A long search, guided by what code an input reaches, runs with the stable
//! compiler, whose own counters of coverage it reads:
//!
//!     RUSTC_WORKSPACE_WRAPPER=tests/fuzz/instrument.sh FUZZ_TARGET=shell FUZZ_SECONDS=600 \
//!         cargo test --test fuzz search -- --nocapture
//!
//! What it finds is left in `tests/fuzz/found/`; an input that was a fault moves to the corpus.
//! `FUZZ_INPUTS` names a directory in which a search finds and leaves the inputs that reach far.

#[path = "fuzz/coverage.rs"]
mod coverage;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/search.rs"]
mod search;
#[path = "fuzz/targets.rs"]
mod targets;
