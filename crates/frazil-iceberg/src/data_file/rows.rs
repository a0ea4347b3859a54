//! Which rows of the input go into one partition, and handing them on in batches of bounded size: long stretches as
//! slices without a copy, scattered rows gathered. Must not know what the rows are selected for.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_row::Rows as RowKeys;
use arrow_schema::ArrowError;
use arrow_select::interleave::interleave_record_batch;

/// Most rows of a batch that [`Pieces`] yields: bounds what gathering copies at a time.
const PIECE_ROWS: usize = 8192;

/// A stretch of at least so many rows is sliced; shorter ones are cheaper to gather into one batch.
const SLICE_ROWS: u32 = 256;

/// `len` rows of the batch with index `batch`, from row `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    batch: u32,
    start: u32,
    len: u32,
}

/// An ordered selection of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    runs: Vec<Run>,
}

impl Rows {
    /// Every row of every batch, in order.
    pub(super) fn all(batches: &[RecordBatch]) -> Self {
        let run =
            |(batch, rows): (usize, &RecordBatch)| Run { batch: narrow(batch), start: 0, len: narrow(rows.num_rows()) };
        Self { runs: batches.iter().enumerate().map(run).filter(|run| run.len > 0).collect() }
    }

    /// Appends one row.
    pub(super) fn push(&mut self, batch: usize, row: usize) {
        let (batch, row) = (narrow(batch), narrow(row));
        match self.runs.last_mut() {
            Some(last) if last.batch == batch && last.start + last.len == row => last.len += 1,
            Some(_) | None => self.runs.push(Run { batch, start: row, len: 1 }),
        }
    }

    /// The same rows ordered by their keys (one set of keys per batch); rows with equal keys stay in order.
    pub(super) fn sorted(&self, keys: &[RowKeys]) -> Self {
        let mut rows: Vec<(usize, usize)> = self.indices().collect();
        rows.sort_by(|a, b| keys[a.0].row(a.1).cmp(&keys[b.0].row(b.1)));
        let mut sorted = Self::default();
        rows.into_iter().for_each(|(batch, row)| sorted.push(batch, row));
        sorted
    }

    /// The rows as batches of at most a few thousand rows.
    pub(super) fn pieces<'a>(&'a self, batches: &'a [RecordBatch]) -> Pieces<'a> {
        Pieces { batches, runs: &self.runs, skip: 0 }
    }

    /// (batch, row) of each row.
    pub(super) fn indices(&self) -> impl Iterator<Item = (usize, usize)> {
        self.runs.iter().flat_map(|run| (run.start..run.start + run.len).map(|row| (run.batch as usize, row as usize)))
    }
}

/// Batches are bounded by the caller far below this; see the check in [`super::plan`].
fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("a staged batch has fewer than 2^32 rows")
}

/// Iterator over the selected rows. See [`Rows::pieces`].
pub(super) struct Pieces<'a> {
    batches: &'a [RecordBatch],
    runs: &'a [Run],
    /// Rows of the first run that were handed out already.
    skip: u32,
}

impl Iterator for Pieces<'_> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.runs.first()?;
        if first.len >= SLICE_ROWS { Some(Ok(self.slice(first))) } else { Some(self.gather()) }
    }
}

impl Pieces<'_> {
    fn slice(&mut self, run: Run) -> RecordBatch {
        let len = (run.len - self.skip).min(PIECE_ROWS as u32);
        let piece = self.batches[run.batch as usize].slice((run.start + self.skip) as usize, len as usize);
        self.skip += len;
        if self.skip == run.len {
            self.runs = &self.runs[1..];
            self.skip = 0;
        }
        piece
    }

    /// The short runs up to the next long one, or as many as fill a piece.
    fn gather(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut sources: Vec<&RecordBatch> = Vec::new();
        let mut source_of: HashMap<u32, usize> = HashMap::new();
        let mut rows = Vec::new();
        while let Some((run, rest)) = self.runs.split_first() {
            if run.len >= SLICE_ROWS || rows.len() + run.len as usize > PIECE_ROWS {
                break;
            }
            let source = *source_of.entry(run.batch).or_insert_with(|| {
                sources.push(&self.batches[run.batch as usize]);
                sources.len() - 1
            });
            rows.extend((run.start..run.start + run.len).map(|row| (source, row as usize)));
            self.runs = rest;
        }
        interleave_record_batch(&sources, &rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};
    use proptest::prelude::*;

    use super::*;

    fn numbered(sizes: &[usize]) -> Vec<RecordBatch> {
        let mut next = 0;
        let mut batch = |size: usize| {
            let values: Int64Array = (next..next + size as i64).collect();
            next += size as i64;
            RecordBatch::try_from_iter([("n", Arc::new(values) as ArrayRef)]).expect("one column")
        };
        sizes.iter().map(|size| batch(*size)).collect()
    }

    fn values(batches: impl IntoIterator<Item = RecordBatch>) -> Vec<i64> {
        let column = |batch: RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        batches.into_iter().flat_map(column).collect()
    }

    #[test]
    fn a_whole_batch_is_not_copied() {
        let batches = numbered(&[10_000]);
        let piece = Rows::all(&batches).pieces(&batches).next().expect("rows").expect("valid");
        let (piece, source) = (piece.column(0).to_data(), batches[0].column(0).to_data());
        assert_eq!(piece.buffers()[0].as_ptr(), source.buffers()[0].as_ptr());
    }

    proptest! {
        /// Pieces are exactly the pushed rows in their order, and none is larger than the bound.
        #[test]
        fn pieces_are_the_selected_rows(
            sizes in prop::collection::vec(0_usize..600, 1..5),
            keep in prop::collection::vec(0_u8..10, 0..40),
        ) {
            let batches = numbered(&sizes);
            let mut rows = Rows::default();
            let mut expected = Vec::new();
            let mut next = 0;
            for (index, batch) in batches.iter().enumerate() {
                for row in 0..batch.num_rows() {
                    // Long stretches and single rows, by turns.
                    if keep.get(row / 50 % 40).is_none_or(|keep| *keep > 3 || row % 3 == 0) {
                        rows.push(index, row);
                        expected.push(next);
                    }
                    next += 1;
                }
            }
            let pieces: Vec<RecordBatch> = rows.pieces(&batches).collect::<Result<_, _>>().expect("valid");
            prop_assert!(pieces.iter().all(|piece| piece.num_rows() <= PIECE_ROWS && piece.num_rows() > 0));
            prop_assert_eq!(values(pieces), expected);
        }
    }
}
