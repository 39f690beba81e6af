//! The shapes of requests and answers.
//!
//! | file | holds |
//! |---|---|
//! | `request` | what is asked for, read strictly |
//! | `reply` | answers, failures and events |

mod reply;
mod request;

use schemars::{Schema, generate::SchemaSettings};

use super::PROTOCOL;
use crate::record::schema_of;

pub use reply::{Answer, Failure, Reply, Said};
use request::RequestShape;
pub use request::{Call, Hello, Request, SetupParams};

/// The name, the place and the schema of each line of the protocol.
pub fn schemas() -> Vec<(&'static str, &'static str, Schema)> {
    let settings = SchemaSettings::draft2020_12();
    let request = settings.into_generator().into_root_schema_for::<RequestShape>();
    vec![
        ("env_request", "a line to `env serve`", request),
        ("env_reply", "a line of `env serve`", schema_of::<Reply>()),
    ]
}
