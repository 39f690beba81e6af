//! Rows of a Parquet file.

use std::{fs::File, sync::Arc};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row, reader::RowIter},
    schema::types::Type,
};
use serde_json::{Value, json};

use super::ask::{Bounds, Cells};

/// A file that is open.
pub(super) struct Table {
    reader: SerializedFileReader<File>,
    projection: Type,
}

impl Table {
    /// Reads the footer, and finds the columns among `wanted`.
    pub fn open(file: File, wanted: &[String]) -> Result<Self, String> {
        let reader = SerializedFileReader::new(file).map_err(|why| format!("no Parquet: {why}"))?;
        let schema = reader.metadata().file_metadata().schema();
        let fields: Vec<Arc<Type>> = schema
            .get_fields()
            .iter()
            .filter(|field| wanted.iter().any(|name| name == field.name()))
            .cloned()
            .collect();
        let projection = Type::group_type_builder(schema.name()).with_fields(fields).build();
        let projection = projection.map_err(|why| format!("its schema: {why}"))?;
        Ok(Self { reader, projection })
    }

    /// The columns that were found.
    pub fn columns(&self) -> Vec<String> {
        self.projection
            .get_fields()
            .iter()
            .map(|field| field.name().to_owned())
            .collect()
    }

    /// The rows, in order.
    pub fn rows(&self) -> Result<impl Iterator<Item = Result<Cells, String>> + '_, String> {
        let rows: Option<RowIter<'_>> = match self.projection.get_fields().is_empty() {
            // There is nothing to read in them.
            true => None,
            false => {
                let rows = self.reader.get_row_iter(Some(self.projection.clone()));
                Some(rows.map_err(|why| why.to_string())?)
            }
        };
        Ok(rows
            .into_iter()
            .flatten()
            .map(|row| cells(&row.map_err(|why| why.to_string())?)))
    }
}

fn cells(row: &Row) -> Result<Cells, String> {
    let cell = |(name, field): (&String, &Field)| {
        let value =
            value(field, &mut Bounds::default(), 0).map_err(|why| format!("`{}`: {why}", name.escape_debug()))?;
        Ok((name.clone(), value))
    };
    row.get_column_iter().map(cell).collect()
}

fn value(field: &Field, bounds: &mut Bounds, depth: usize) -> Result<Value, String> {
    bounds.value(depth)?;
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Byte(value) => json!(value),
        Field::Short(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::UByte(value) => json!(value),
        Field::UShort(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::ULong(value) => json!(value),
        // What JSON has no number for (NaN, infinities) is null.
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(text) => {
            bounds.text(text.len())?;
            json!(text)
        }
        Field::Bytes(bytes) => {
            bounds.text(bytes.len())?;
            let text = std::str::from_utf8(bytes.data()).map_err(|_| "bytes that are no text".to_owned())?;
            json!(text)
        }
        Field::Group(row) => {
            let mut object = Cells::new();
            for (name, field) in row.get_column_iter() {
                bounds.text(name.len())?;
                object.insert(name.clone(), value(field, bounds, depth + 1)?);
            }
            Value::Object(object)
        }
        Field::ListInternal(list) => {
            let items = list.elements().iter().map(|item| value(item, bounds, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        // Times, decimals and maps are no questions and no answers; as they are shown they can still be compared.
        other => {
            let text = other.to_string();
            bounds.text(text.len())?;
            json!(text)
        }
    })
}
