//! The same in vector registers, on several threads; squares are summed in f32, by sixteen sums.

use crate::element::Element;
use crate::lanes::{self, Lanes, by_lane, map2, sum_of_squares};
use crate::stripes::{Stripes, for_each_chunk};

/// Elements of one job, more or less: whole rows.
const JOB: usize = 8 << 10;

/// What every row is normed with.
#[derive(Clone, Copy)]
struct Norm<'a, T> {
    weight: &'a [T],
    eps: f64,
}

pub(super) fn rms_norm<T: Element>(x: &[T], weight: &[T], eps: f64) -> Vec<T> {
    let size = weight.len();
    let norm = Norm { weight, eps };
    let mut out = vec![T::zero(); x.len()];
    for_each_chunk(&mut out, job(size), |chunk, out| {
        let x = &x[chunk * job(size)..][..out.len()];
        lanes::run(Normed { norm, x, out });
    });
    out
}

/// The sums, and their norms.
pub(super) fn add_rms_norm<T: Element>(
    x: &[T],
    residual: &[T],
    weight: &[T],
    eps: f64,
) -> (Vec<T>, Vec<T>) {
    let size = weight.len();
    let norm = Norm { weight, eps };
    let (mut sums, mut normed) = (vec![T::zero(); x.len()], vec![T::zero(); x.len()]);
    let all = Stripes::new(&mut normed, x.len());
    for_each_chunk(&mut sums, job(size), |chunk, sums| {
        let part = chunk * job(size)..chunk * job(size) + sums.len();
        let (x, residual) = (&x[part.clone()], &residual[part.clone()]);
        // SAFETY: the same part as that of the sums, which is this job's alone.
        #[expect(unsafe_code, reason = "parts of one slice on several threads")]
        let out = unsafe { all.part(0, part) };
        lanes::run(Sums { x, residual, sums });
        lanes::run(Normed { norm, x: sums, out });
    });
    (sums, normed)
}

fn job(size: usize) -> usize {
    JOB.next_multiple_of(size.max(1))
}

struct Sums<'a, T> {
    x: &'a [T],
    residual: &'a [T],
    sums: &'a mut [T],
}

impl<T: Element> lanes::Job for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        map2(self.x, self.residual, self.sums, |x, residual| {
            by_lane(0.0, |lane| x[lane] + residual[lane])
        });
    }
}

struct Normed<'a, T> {
    norm: Norm<'a, T>,
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> lanes::Job for Normed<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Norm { weight, eps } = self.norm;
        let size = weight.len();
        let rows = self
            .x
            .chunks_exact(size)
            .zip(self.out.chunks_exact_mut(size));
        for (row, out) in rows {
            let mean = f64::from(sum_of_squares(row)) / size as f64;
            let scale = (1.0 / (mean + eps).sqrt()) as f32;
            map2(row, weight, out, |x, weight| {
                by_lane(0.0, |lane| x[lane] * scale * weight[lane])
            });
        }
    }
}
