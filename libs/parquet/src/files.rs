//! One Parquet file while it is written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde_arrow::ArrayBuilder;

use crate::folder::Place;
use crate::progress::sync_folder;
use crate::{Columns, ExportError};

/// Rows that are turned into columns together.
const ROWS_AT_ONCE: usize = 4096;
/// What is not whole has this behind its name.
pub const DRAFT: &str = "tmp";

/// A file that grows; it is none until [`Growing::finish`].
pub struct Growing {
    path: PathBuf,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
    builder: ArrayBuilder,
    places: Vec<Place>,
}

impl Growing {
    pub fn create(path: PathBuf, columns: &Columns) -> Result<Growing, ExportError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(ExportError::file("make", folder))?;
        }
        let draft = draft(&path);
        let file = File::create(&draft).map_err(ExportError::file("write", &draft))?;
        let schema = Arc::new(Schema::new([place_fields(), columns.fields.clone()].concat()));
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|error| ExportError::of_file("write", &draft, error))?;
        let builder =
            ArrayBuilder::from_arrow(&columns.fields).map_err(|error| ExportError::Schema(error.to_string()))?;
        Ok(Growing { path, schema, writer, builder, places: Vec::new() })
    }

    pub fn push(&mut self, row: &impl Serialize, place: Place) -> Result<(), ExportError> {
        self.builder.push(row).map_err(|error| ExportError::Row(error.to_string()))?;
        self.places.push(place);
        if self.places.len() >= ROWS_AT_ONCE { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ExportError> {
        let of_row = self.builder.to_record_batch().map_err(|error| ExportError::Row(error.to_string()))?;
        let columns = [place_columns(&self.places), of_row.columns().to_vec()].concat();
        self.places.clear();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.map_err(|error| ExportError::Row(error.to_string()))?;
        self.writer.write(&batch).map_err(|error| ExportError::of_file("write", &self.path, error))
    }

    /// Says how many bytes it has.
    pub fn finish(mut self) -> Result<u64, ExportError> {
        if !self.places.is_empty() {
            self.write()?;
        }
        let draft = draft(&self.path);
        let path = self.path;
        let file = self.writer.into_inner().map_err(|error| ExportError::of_file("write", &draft, error))?;
        file.sync_all().map_err(ExportError::file("write", &draft))?;
        let bytes = file.metadata().map_err(ExportError::file("write", &draft))?.len();
        fs::rename(&draft, &path).map_err(ExportError::file("write", &path))?;
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(bytes)
    }
}

fn draft(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(DRAFT);
    name.into()
}

/// Where each record stood in Kafka, which names it.
fn place_fields() -> Vec<FieldRef> {
    let field = |name: &str, data_type, doc: &str| {
        let doc = HashMap::from([("doc".to_owned(), doc.to_owned())]);
        Arc::new(Field::new(name, data_type, false).with_metadata(doc))
    };
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    vec![
        field("kafka_partition", DataType::Int32, "Partition of the topic in which the record stood."),
        field("kafka_offset", DataType::Int64, "Its offset there."),
        field("kafka_timestamp", time, "Kafka's timestamp of it."),
    ]
}

fn place_columns(places: &[Place]) -> Vec<ArrayRef> {
    let partitions: Int32Array = places.iter().map(|place| Some(place.partition)).collect();
    let offsets: Int64Array = places.iter().map(|place| Some(place.offset)).collect();
    let times: TimestampMillisecondArray = places.iter().map(|place| Some(place.timestamp_ms)).collect();
    vec![Arc::new(partitions), Arc::new(offsets), Arc::new(times.with_timezone("UTC"))]
}
