//! JSON Schemas (draft 2020-12) of types, as they are written.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

/// The schema of what serialising a `T` gives.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}
