//! The types mirror the `.avsc` files, and what was released stays readable.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use headwater_schemas::records::Record;
use headwater_schemas::wire::{Encoder, WireError, WriterSchema, split};
use headwater_schemas::{each_record, samples};

/// Folders of all released versions.
fn releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("released");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "{} holds no release", folder.display());
    folders
}

macro_rules! round_trip {
    ($name:literal, $type:ty, $sample:ident) => {{
        let sample = samples::$sample();
        let value = Encoder::of::<$type>(7).unwrap().encode(&sample).unwrap();
        let (id, datum) = split(&value).unwrap();
        assert_eq!(id, 7);
        let schema = WriterSchema::parse(<$type as Record>::SCHEMA).unwrap();
        assert_eq!(schema.decode::<$type>(datum).unwrap(), sample, $name);

        // An independent implementation reads the same bytes to their end, and finds every field.
        let schema = Schema::parse_str(<$type as Record>::SCHEMA).unwrap();
        let mut rest = datum;
        let read = apache_avro::from_avro_datum(&schema, &mut rest, None).unwrap();
        assert!(rest.is_empty(), "{} leaves {} bytes", $name, rest.len());
        let json: serde_json::Value = serde_json::Value::try_from(read).unwrap();
        let Schema::Record(record) = &schema else { panic!("{} is no record", $name) };
        assert_eq!(record.name.name, <$type as Record>::NAME);
        assert_eq!(json.as_object().unwrap().len(), record.fields.len(), $name);
    }};
}

#[test]
fn every_type_mirrors_its_schema() {
    each_record!(round_trip);
}

macro_rules! released {
    ($name:literal, $type:ty, $sample:ident) => {
        let today = Schema::parse_str(<$type as Record>::SCHEMA).unwrap();
        for folder in releases() {
            // A record that came later is in no earlier release.
            let Ok(text) = fs::read_to_string(folder.join(concat!($name, ".avsc"))) else { continue };
            let then = Schema::parse_str(&text).unwrap();
            SchemaCompatibility::mutual_read(&then, &today)
                .unwrap_or_else(|error| panic!("{} is not compatible with {}: {error}", $name, folder.display()));
            let datum = fs::read(folder.join(concat!($name, ".bin"))).unwrap();
            let schema = WriterSchema::parse(&text).unwrap();
            schema
                .decode::<$type>(&datum)
                .unwrap_or_else(|error| panic!("{} of {} cannot be read: {error}", $name, folder.display()));
        }
    };
}

#[test]
fn every_released_version_is_compatible_and_its_bytes_are_read() {
    each_record!(released);
}

#[test]
fn bytes_that_are_no_value_are_told_apart() {
    assert_eq!(split(&[0, 1]), Err(WireError::TooShort(2)));
    assert_eq!(split(&[3, 0, 0, 0, 1, 9]), Err(WireError::Magic(3)));
    let schema = WriterSchema::parse(headwater_schemas::records::Progress::SCHEMA).unwrap();
    assert!(schema.decode::<headwater_schemas::records::Progress>(&[0xff; 12]).is_err());
}

#[test]
fn a_value_of_another_record_or_with_bytes_behind_it_is_refused() {
    use headwater_schemas::records::{Edge, Progress};
    let value = Encoder::of::<Progress>(7).unwrap().encode(&samples::progress()).unwrap();
    let (_, datum) = split(&value).unwrap();
    let schema = WriterSchema::parse(Progress::SCHEMA).unwrap();
    schema.decode::<Progress>(datum).unwrap();
    let longer = [datum, b"!!"].concat();
    let error = schema.decode::<Progress>(&longer).unwrap_err().to_string();
    assert!(error.contains("2 bytes follow behind it"), "{error}");
    let error = schema.decode::<Edge>(datum).unwrap_err().to_string();
    assert_eq!(error, "schema is one of the record Progress, Edge is expected");
    let error = WriterSchema::parse("\"string\"").unwrap().decode::<Progress>(datum).unwrap_err().to_string();
    assert_eq!(error, "schema is not one of a record, Progress is expected");
}

#[test]
fn a_few_bytes_cannot_claim_a_thousand_million_items() {
    // An array of nulls: its items take no bytes at all.
    let text = r#"{"type": "record", "name": "Progress", "fields": [
        {"name": "holes", "type": {"type": "array", "items": "null"}}]}"#;
    let count = [0x80, 0xa8, 0xd6, 0xb9, 0x07, 0];
    let schema = WriterSchema::parse(text).unwrap();
    let error = schema.decode::<headwater_schemas::records::Progress>(&count).unwrap_err().to_string();
    assert!(error.contains("max sequence size"), "{error}");
}

#[test]
fn what_happens_to_a_process_some_day_is_unknown_to_readers_of_today() {
    use headwater_schemas::records::{Process, ProcessKind};
    let process = samples::process();
    let value = Encoder::of::<Process<'_>>(7).unwrap().encode(&process).unwrap();
    let (_, datum) = split(&value).unwrap();
    let some_day = Process::SCHEMA.replace("OOM_KILL\", \"LISTEN\"", "FROZEN\", \"LISTEN\"");
    assert_ne!(some_day, Process::SCHEMA);
    let read: Process<'_> = WriterSchema::parse(&some_day).unwrap().decode(datum).unwrap();
    assert_eq!(read, Process { kind: ProcessKind::Unknown, ..process });
}
