//! The columns of a topic, as its Avro schema says them.
//!
//! In: the text of a schema (Avro 1.11, "Schema Declaration"). Out: fields of Arrow, each with the doc of the schema's: timestamps are in UTC, an enumeration is its word. What has no
//! column, such as a union of several types, is refused with its name.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};
use serde_json::Value;

use crate::ExportError;

/// As deep as types may stand in each other.
const DEPTH_MAX: usize = 32;

/// See the module.
#[derive(Debug, Clone)]
pub struct Columns {
    pub(crate) fields: Vec<FieldRef>,
}

impl Columns {
    /// The columns of a record.
    ///
    /// # Errors
    /// If it is none, or has a field that is no column.
    pub fn of_avro(schema: &str) -> Result<Columns, ExportError> {
        let schema: Value = serde_json::from_str(schema).map_err(|error| ExportError::Schema(error.to_string()))?;
        let mut named = HashMap::new();
        match type_of(&schema, &mut named, 0).map_err(ExportError::Schema)? {
            (DataType::Struct(fields), false) => Ok(Columns { fields: fields.iter().cloned().collect() }),
            (other, _) => Err(ExportError::Schema(format!("it is no record, but {other}"))),
        }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name().as_str())
    }
}

/// The type, and whether it may be null.
fn type_of(schema: &Value, named: &mut HashMap<String, DataType>, depth: usize) -> Result<(DataType, bool), String> {
    if depth > DEPTH_MAX {
        return Err(format!("types stand in each other more than {DEPTH_MAX} deep"));
    }
    match schema {
        Value::String(name) => {
            let known = primitive(name).or_else(|| named.get(name).cloned());
            known.map(|known| (known, false)).ok_or_else(|| format!("the type {name} is not known"))
        }
        Value::Array(union) => match union.as_slice() {
            [null, other] if null == "null" => Ok((type_of(other, named, depth + 1)?.0, true)),
            other => Err(format!("a union of {} types", other.len())),
        },
        Value::Object(object) => {
            let text = |key: &str| object.get(key).and_then(Value::as_str);
            let inner = |key: &str, named: &mut _| {
                let schema = object.get(key).ok_or_else(|| format!("`{key}` is not there"))?;
                type_of(schema, named, depth + 1)
            };
            let data_type = match text("type") {
                Some("record") => {
                    let fields = object.get("fields").and_then(Value::as_array).ok_or("a record without fields")?;
                    let fields = fields.iter().map(|field| field_of(field, named, depth));
                    DataType::Struct(fields.collect::<Result<Fields, String>>()?)
                }
                Some("enum") => DataType::Utf8,
                Some("array") => {
                    let (item, is_nullable) = inner("items", named)?;
                    DataType::List(Arc::new(Field::new("element", item, is_nullable)))
                }
                Some("map") => {
                    let (value, is_nullable) = inner("values", named)?;
                    let pair = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, is_nullable)];
                    let pairs = Field::new("key_value", DataType::Struct(pair.into()), false);
                    DataType::Map(Arc::new(pairs), false)
                }
                Some("long") if text("logicalType") == Some("timestamp-micros") => {
                    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
                }
                Some(name) => return type_of(&Value::from(name), named, depth + 1),
                None => return inner("type", named),
            };
            if let Some(name) = text("name") {
                named.insert(name.to_owned(), data_type.clone());
            }
            Ok((data_type, false))
        }
        other => Err(format!("{other} is no type")),
    }
}

fn field_of(field: &Value, named: &mut HashMap<String, DataType>, depth: usize) -> Result<Field, String> {
    let name = field.get("name").and_then(Value::as_str).ok_or("a field without a name")?;
    let schema = field.get("type").ok_or_else(|| format!("{name} has no type"))?;
    let (data_type, is_nullable) = type_of(schema, named, depth + 1).map_err(|error| format!("{name}: {error}"))?;
    let doc = field.get("doc").and_then(Value::as_str);
    let doc = doc.map(|doc| ("doc".to_owned(), doc.to_owned()));
    Ok(Field::new(name, data_type, is_nullable).with_metadata(doc.into_iter().collect::<HashMap<_, _>>()))
}

fn primitive(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "bytes" => DataType::Binary,
        "string" => DataType::Utf8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_has_no_column_is_refused_by_its_name() {
        let of = |types: &str| {
            let field = format!(r#"{{"name": "a", "type": {types}}}"#);
            Columns::of_avro(&format!(r#"{{"type": "record", "name": "R", "fields": [{field}]}}"#))
        };
        for (types, expected) in [
            (r#"["null", "int", "string"]"#, "a: a union of 3 types"),
            (r#""Nobody""#, "a: the type Nobody is not known"),
            (r#"{"type": "array"}"#, "a: `items` is not there"),
            ("7", "a: 7 is no type"),
        ] {
            let told = of(types).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
        let endless = format!("{}\"int\"{}", r#"{"type": "array", "items": "#.repeat(100), "}".repeat(100));
        assert!(of(&endless).unwrap_err().to_string().contains("deep"));
        assert!(Columns::of_avro("\"int\"").is_err() && Columns::of_avro("{").is_err());
        assert_eq!(of("\"int\"").unwrap().names().collect::<Vec<_>>(), ["a"]);
    }
}
