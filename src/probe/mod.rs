//! Forbidden acts: what a hostile program would try, one small function each.
//!
//! The same acts have three uses. The guest performs a dozen of them before anything of the
//! repository's runs ([`testify`], `witness`); the suite of escapes runs each inside a sandbox
//! and outside of one ([`main`], the role `escape-probe`); and its controls show that an act
//! does what it is after where no wall stands.
//!
//! - `act`: what an act is told and answers; `layer`: the names of walls;
//! - `call`: raw system calls, and who refused one;
//! - `files`, `nodes`, `privileges`, `kernel`, `processes`, `lives`, `network`,
//!   `families`, `resources`: the acts;
//! - `witness`: the dozen; `role`: the program's role as a probe.
//!
//! Nothing here knows of sandboxes.

mod act;
mod call;
mod families;
mod files;
mod kernel;
mod layer;
mod lives;
mod network;
mod nodes;
mod privileges;
mod processes;
mod resources;
mod role;
mod witness;

pub use act::{Act, Answer, Marks};
pub use layer::Layer;
pub use role::{Ground, Role, acts, main};
pub use witness::{Testimony, WITNESS, testify};
