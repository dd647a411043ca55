//! The same in vector registers, on several threads.

use crate::element::Element;
use crate::lanes::{self, Lanes, by_lane, exp, map2};
use crate::stripes::for_each_chunk;

/// Elements of one job.
const JOB: usize = 8 << 10;

pub(super) fn silu_mul<T: Element>(gate: &[T], up: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); gate.len()];
    for_each_chunk(&mut out, JOB, |job, out| {
        let part = job * JOB..job * JOB + out.len();
        let (gate, up) = (&gate[part.clone()], &up[part]);
        lanes::run(Gate { gate, up, out });
    });
    out
}

struct Gate<'a, T> {
    gate: &'a [T],
    up: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> lanes::Job for Gate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        map2(self.gate, self.up, self.out, |gate, up| {
            let growth = exp(by_lane(0.0, |lane| -gate[lane]));
            by_lane(0.0, |lane| gate[lane] / (1.0 + growth[lane]) * up[lane])
        });
    }
}
