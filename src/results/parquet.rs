//! Columns to and from Apache Parquet, with the crates of polars that know files and arrays alone: its data frames, of which we would
//! use none, take longer to build than these.

use std::io::{Cursor, Write};
use std::sync::Arc;

use polars_arrow::array::{Array, PrimitiveArray, Utf8ViewArray};
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field};
use polars_arrow::record_batch::RecordBatchT;
use polars_buffer::Buffer;
use polars_error::{PolarsError, PolarsResult, polars_bail};
use polars_parquet::read::{BasicDecompressor, PageReader, column_iter_to_arrays, infer_schema, read_metadata};
use polars_parquet::write::{
    CompressionOptions, Encoding, FileWriter, StatisticsOptions, Version, WriteOptions, row_group_iter,
};

use super::reader::Column;
use super::tables::Kind;

/// Writes row groups of equal columns.
pub(super) struct GroupWriter<W: Write> {
    file: FileWriter<W>,
    schema: Arc<ArrowSchema>,
    encodings: Buffer<Vec<Encoding>>,
    options: WriteOptions,
}

impl<W: Write> GroupWriter<W> {
    pub fn new(writer: W, columns: &[(String, Kind)]) -> PolarsResult<GroupWriter<W>> {
        let options = WriteOptions {
            statistics: StatisticsOptions::default(),
            version: Version::V1,
            compression: CompressionOptions::Snappy,
            data_page_size: None,
        };
        let schema: ArrowSchema =
            columns.iter().map(|(name, kind)| Field::new(name.as_str().into(), data_type(*kind), true)).collect();
        let file = FileWriter::try_new(writer, schema.clone(), options)?;
        let encodings = columns.iter().map(|_| vec![Encoding::RleDictionary]).collect();
        Ok(GroupWriter { file, schema: Arc::new(schema), encodings, options })
    }

    /// Writes one row group; the columns are as many and as long as each other.
    pub fn write(&mut self, rows: usize, columns: Vec<Column>) -> PolarsResult<()> {
        let arrays = columns.into_iter().map(array).collect();
        let batch = RecordBatchT::try_new(rows, Arc::clone(&self.schema), arrays)?;
        let fields = self.file.parquet_schema().fields().to_vec();
        let group = row_group_iter(batch, self.encodings.clone(), fields, self.options);
        self.file.write(rows as u64, group)
    }

    /// Writes the footer.
    pub fn finish(mut self) -> PolarsResult<()> {
        self.file.end(None)?;
        self.file.into_inner().flush().map_err(PolarsError::from)
    }
}

fn data_type(kind: Kind) -> ArrowDataType {
    match kind {
        Kind::Count => ArrowDataType::UInt64,
        Kind::Number => ArrowDataType::Float64,
        Kind::Text => ArrowDataType::Utf8View,
    }
}

fn array(column: Column) -> Box<dyn Array> {
    match column {
        Column::Count(values) => PrimitiveArray::<u64>::from(values).boxed(),
        Column::Number(values) => PrimitiveArray::<f64>::from(values).boxed(),
        Column::Text(values) => Utf8ViewArray::from_slice(values).boxed(),
    }
}

/// The columns of a file, and how many row groups it has.
pub(super) fn read(bytes: Vec<u8>) -> PolarsResult<(Vec<(String, Column)>, usize)> {
    let metadata = read_metadata(&mut Cursor::new(&bytes))?;
    let schema = infer_schema(&metadata)?;
    let bytes = Buffer::from(bytes);
    let mut columns = Vec::new();
    for field in schema.iter_values() {
        let mut column = match field.dtype() {
            ArrowDataType::UInt64 => Column::Count(Vec::new()),
            ArrowDataType::Float64 => Column::Number(Vec::new()),
            ArrowDataType::Utf8View => Column::Text(Vec::new()),
            other => {
                polars_bail!(ComputeError: "column {} is neither a count, a number nor a text: {other:?}", field.name)
            }
        };
        for group in &metadata.row_groups {
            let Some(chunk) = group.columns_under_root_iter(&field.name).and_then(|mut chunks| chunks.next()) else {
                polars_bail!(ComputeError: "column {} is missing in a row group", field.name);
            };
            let range = chunk.byte_range();
            let (start, end) = (range.start as usize, range.end as usize);
            if start > end || end > bytes.len() {
                polars_bail!(ComputeError: "column {} lies beyond the end of the file", field.name);
            }
            let pages = PageReader::new(Cursor::new(bytes.clone().sliced(start..end)), chunk, Vec::new(), usize::MAX);
            let pages = vec![BasicDecompressor::new(pages, Vec::new())];
            let types = vec![&chunk.descriptor().descriptor.primitive_type];
            let (arrays, _) = column_iter_to_arrays(pages, types, field.clone(), None)?;
            arrays.iter().for_each(|array| column.append(&**array));
        }
        columns.push((field.name.to_string(), column));
    }
    Ok((columns, metadata.row_groups.len()))
}

impl Column {
    /// Appends the values of an array of this column's kind.
    fn append(&mut self, array: &dyn Array) {
        let array = array.as_any();
        match self {
            Column::Count(values) => {
                let array = array.downcast_ref::<PrimitiveArray<u64>>().expect("the schema says so");
                values.extend(array.iter().map(|value| value.copied()));
            }
            Column::Number(values) => {
                let array = array.downcast_ref::<PrimitiveArray<f64>>().expect("the schema says so");
                values.extend(array.iter().map(|value| value.copied()));
            }
            Column::Text(values) => {
                let array = array.downcast_ref::<Utf8ViewArray>().expect("the schema says so");
                values.extend(array.iter().map(|text| text.map(str::to_owned)));
            }
        }
    }
}
