//! Register-tiled dot products: four rows of `x` by four rows of the weight at a time, so that
//! what is loaded is used four times. Tiling changes which sums run side by side, never the order
//! within a sum.

use rayon::prelude::*;

use crate::lanes::{self, Fill, LANES, Lanes, tree_sum};

/// Rows of `x`, and rows of the weight, in one tile.
const TILE: usize = 4;
/// Rows of the weight that one job takes.
const JOB_OUT: usize = 16;

/// `x` `[rows, size_in]` times the transpose of `weight` `[size_out, size_in]`.
pub(crate) fn product<T: Fill>(x: &[f32], weight: &[T], size_in: usize) -> Vec<f32> {
    let (rows, size_out) = (x.len() / size_in, weight.len() / size_in);
    // By weight row first, so that each job owns a stretch of the result.
    let mut by_column = vec![0f32; rows * size_out];
    let outs = by_column.par_chunks_mut(JOB_OUT * rows.max(1));
    let jobs = outs.zip(weight.par_chunks(JOB_OUT * size_in));
    jobs.for_each(|(out, weight)| {
        let job = Job { x, weight, size_in };
        lanes::run(OnRows { job, out });
    });
    transpose(&by_column, rows, size_out)
}

fn transpose(by_column: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0f32; by_column.len()];
    for (column, values) in by_column.chunks_exact(rows.max(1)).enumerate() {
        for (row, &value) in values.iter().enumerate() {
            out[row * columns + column] = value;
        }
    }
    out
}

/// All of `x` by a few rows of the weight.
#[derive(Clone, Copy)]
struct Job<'a, T> {
    x: &'a [f32],
    weight: &'a [T],
    size_in: usize,
}

/// A job and where its result goes.
struct OnRows<'a, T> {
    job: Job<'a, T>,
    out: &'a mut [f32],
}

impl<T: Fill> lanes::Job for OnRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        self.job.run::<L>(self.out);
    }
}

impl<'a, T: Fill> Job<'a, T> {
    /// `out` is `[weight rows, rows]`.
    #[inline(always)]
    fn run<L: Lanes>(self, out: &mut [f32]) {
        let rows = self.x.len() / self.size_in;
        let columns = self.weight.len() / self.size_in;
        let mut row = 0;
        while row + TILE <= rows {
            self.band::<L, TILE>(row, (rows, columns), out);
            row += TILE;
        }
        while row < rows {
            self.band::<L, 1>(row, (rows, columns), out);
            row += 1;
        }
    }

    /// `R` rows of `x` by all rows of the weight.
    #[inline(always)]
    fn band<L: Lanes, const R: usize>(
        self,
        row: usize,
        (rows, columns): (usize, usize),
        out: &mut [f32],
    ) {
        let mut column = 0;
        while column + TILE <= columns {
            self.tile::<L, R, TILE>(row, column, &mut out[column * rows..], rows);
            column += TILE;
        }
        while column < columns {
            self.tile::<L, R, 1>(row, column, &mut out[column * rows..], rows);
            column += 1;
        }
    }

    /// The dot products of `R` rows of `x` with `C` rows of the weight.
    #[inline(always)]
    fn tile<L: Lanes, const R: usize, const C: usize>(
        self,
        row: usize,
        column: usize,
        out: &mut [f32],
        rows: usize,
    ) {
        let x: [Row<'a, f32>; R] = std::array::from_fn(|i| Row::of(self.x, row + i, self.size_in));
        let w: [Row<'a, T>; C] =
            std::array::from_fn(|j| Row::of(self.weight, column + j, self.size_in));
        let mut sums = [[L::zero(); C]; R];
        for chunk in 0..x[0].whole.len() {
            let x: [L; R] = std::array::from_fn(|i| L::load(&x[i].whole[chunk]));
            for j in 0..C {
                let w: L = T::fill(&w[j].whole[chunk]);
                for i in 0..R {
                    sums[i][j] = sums[i][j].add_product(x[i], w);
                }
            }
        }
        for i in 0..R {
            for j in 0..C {
                let sum = sums[i][j].add_product(L::load(&x[i].padded()), T::fill(&w[j].padded()));
                out[j * rows + row + i] = tree_sum(sum.to_array());
            }
        }
    }
}

/// A row in whole chunks, and what is left of it.
#[derive(Clone, Copy)]
struct Row<'a, T> {
    whole: &'a [[T; LANES]],
    rest: &'a [T],
}

impl<'a, T: crate::element::Element> Row<'a, T> {
    #[inline(always)]
    fn of(matrix: &'a [T], row: usize, len: usize) -> Self {
        let (whole, rest) = matrix[row * len..(row + 1) * len].as_chunks();
        Self { whole, rest }
    }

    /// The rest, filled up with zeros.
    #[inline(always)]
    fn padded(&self) -> [T; LANES] {
        let mut padded = [T::zero(); LANES];
        padded[..self.rest.len()].copy_from_slice(self.rest);
        padded
    }
}
