//! The same loops, compiled for vector registers, on several threads.

use super::cpu;
use crate::element::Element;
use crate::lanes::{self, Lanes};
use crate::stripes::for_each_chunk;

/// Elements of one job, more or less: whole rows.
const JOB: usize = 8 << 10;

/// As [`cpu::rotate`].
pub(super) fn rotate<T: Element>(
    rows: &[T],
    positions: &[u32],
    angles: (&[f32], &[f32]),
    (heads, head_dim): (usize, usize),
) -> Vec<T> {
    let row = heads * head_dim;
    let rows_per_job = JOB.div_ceil(row.max(1));
    let mut out = rows.to_vec();
    for_each_chunk(&mut out, (rows_per_job * row).max(1), |job, rows| {
        let positions = &positions[job * rows_per_job..];
        lanes::run(Rotation {
            rows,
            positions,
            angles,
            heads: (heads, head_dim),
        });
    });
    out
}

struct Rotation<'a, T> {
    rows: &'a mut [T],
    positions: &'a [u32],
    angles: (&'a [f32], &'a [f32]),
    heads: (usize, usize),
}

impl<T: Element> lanes::Job for Rotation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        cpu::rotate_rows(self.rows, self.positions, self.angles, self.heads);
    }
}
