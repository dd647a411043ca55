//! Register-tiled dot products: four rows of `x` by four rows of the weight at a time, so that
//! what is loaded is used four times. Tiling changes which sums run side by side, never the order
//! within a sum.

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Fill, LANES, Lanes, Portable};

/// Rows of `x`, and rows of the weight, in one tile.
const TILE: usize = 4;
/// Rows of the weight that one job takes.
const JOB_OUT: usize = 16;

/// `x` `[rows, size_in]` times the transpose of `weight` `[size_out, size_in]`.
pub(crate) fn product<T: Fill>(x: &[f32], weight: &[T], size_in: usize) -> Vec<f32> {
    let (rows, size_out) = (x.len() / size_in, weight.len() / size_in);
    let instructions = Instructions::detect();
    // By weight row first, so that each job owns a stretch of the result.
    let mut by_column = vec![0f32; rows * size_out];
    let outs = by_column.par_chunks_mut(JOB_OUT * rows.max(1));
    let jobs = outs.zip(weight.par_chunks(JOB_OUT * size_in));
    jobs.for_each(|(out, weight)| instructions.run(Job { x, weight, size_in }, out));
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

/// Which of the compiled forms this machine runs. They differ in speed, and with fused
/// multiply-add in rounding; a machine always runs the same one.
#[derive(Clone, Copy)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Instructions {
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    fn run<T: Fill>(self, job: Job<'_, T>, out: &mut [f32]) {
        match self {
            // SAFETY: `detect` has found avx512f on this machine.
            #[cfg(target_arch = "x86_64")]
            #[expect(
                unsafe_code,
                reason = "calls a function compiled for more instructions"
            )]
            Self::Avx512 => unsafe { avx512(job, out) },
            // SAFETY: `detect` has found avx2 and fma on this machine.
            #[cfg(target_arch = "x86_64")]
            #[expect(
                unsafe_code,
                reason = "calls a function compiled for more instructions"
            )]
            Self::Avx2 => unsafe { avx2(job, out) },
            Self::Portable => job.run::<Portable>(out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<T: Fill>(job: Job<'_, T>, out: &mut [f32]) {
    job.run::<Avx512>(out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Fill>(job: Job<'_, T>, out: &mut [f32]) {
    job.run::<Avx2>(out);
}

/// All of `x` by a few rows of the weight.
#[derive(Clone, Copy)]
struct Job<'a, T> {
    x: &'a [f32],
    weight: &'a [T],
    size_in: usize,
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

#[inline(always)]
fn tree_sum(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}
