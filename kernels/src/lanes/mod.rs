//! Sixteen f32 side by side, in the widest registers that the machine has.

mod exp;
mod instructions;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use exp::{exp, exp_f64};
pub(crate) use instructions::Instructions;

use half::{bf16, f16};

use crate::element::Element;

/// Partial sums of one dot product: one AVX-512 register, or two of AVX2.
pub(crate) const LANES: usize = 16;

/// Sixteen partial sums. Every form adds the same products to the same lanes.
///
/// A form other than [`Portable`] may only be used where its instructions have been found.
pub(crate) trait Lanes: Copy {
    fn zero() -> Self;
    fn load(values: &[f32; LANES]) -> Self;
    fn load_bf16(values: &[bf16; LANES]) -> Self;
    /// One value in all lanes.
    fn splat(value: f32) -> Self;
    fn add(self, other: Self) -> Self;
    /// `self + a * b`, lane by lane.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self` and, lane by lane, both products of a pair of the weight with the pair `x`.
    fn add_pair_products(self, weight: &[[bf16; 2]; LANES], x: [bf16; 2]) -> Self;
    fn to_array(self) -> [f32; LANES];

    /// The sum over the lanes of each, in the order of [`tree_sum`].
    #[inline(always)]
    fn sums(each: [Self; LANES]) -> [f32; LANES] {
        each.map(|lanes| tree_sum(lanes.to_array()))
    }
}

/// Lanes added up by halves.
#[inline(always)]
pub(crate) fn tree_sum(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// What `compute` gives for each lane.
///
/// As `std::array::from_fn`, which is not always inlined, and then not compiled for the
/// instructions of its caller.
#[inline(always)]
pub(crate) fn by_lane<T: Copy>(zero: T, compute: impl Fn(usize) -> T) -> [T; LANES] {
    let mut lanes = [zero; LANES];
    for (lane, value) in lanes.iter_mut().enumerate() {
        *value = compute(lane);
    }
    lanes
}

/// Sixteen values, rounded to be stored.
#[inline(always)]
pub(crate) fn narrow<T: Element>(values: [f32; LANES]) -> [T; LANES] {
    by_lane(T::zero(), |lane| T::narrow(values[lane]))
}

/// Asks for the memory of `ahead` elements further on, which may be beyond their end: what is read
/// from front to back comes page by page, and the machine looks ahead within a page only.
#[inline(always)]
pub(crate) fn prefetch<T>(element: &T, ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "an instruction")]
    // SAFETY: a hint; whatever the address, nothing is read.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).wrapping_add(ahead).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (element, ahead);
}

/// Computes `out` from `a` and `b`, sixteen elements at a time; at the end what is missing of
/// sixteen is zeros.
#[inline(always)]
pub(crate) fn map2<T: Element>(
    a: &[T],
    b: &[T],
    out: &mut [T],
    compute: impl Fn([f32; LANES], [f32; LANES]) -> [f32; LANES],
) {
    let sixteens = a.chunks(LANES).zip(b.chunks(LANES));
    for ((a, b), out) in sixteens.zip(out.chunks_mut(LANES)) {
        // Called in one place only, or it might not be inlined.
        let result = narrow(compute(filled_up(a), filled_up(b)));
        match <&mut [T; LANES]>::try_from(&mut *out) {
            Ok(out) => *out = result,
            Err(_) => out.copy_from_slice(&result[..out.len()]),
        }
    }
}

/// The sum of the squares of a row: sixteen sums, added up as a tree.
#[inline(always)]
pub(crate) fn sum_of_squares<T: Element>(row: &[T]) -> f32 {
    let mut sums = [0f32; LANES];
    for values in row.chunks(LANES) {
        let values = filled_up(values);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value * value;
        }
    }
    tree_sum(sums)
}

#[inline(always)]
pub(crate) fn widen<T: Element>(values: &[T; LANES]) -> [f32; LANES] {
    by_lane(0.0, |lane| values[lane].widen())
}

/// Sixteen elements, or fewer and zeros.
#[inline(always)]
fn filled_up<T: Element>(values: &[T]) -> [f32; LANES] {
    match values.try_into() {
        Ok(values) => widen(values),
        Err(_) => {
            let mut padded = [T::zero(); LANES];
            padded[..values.len()].copy_from_slice(values);
            widen(&padded)
        }
    }
}

/// Work that is compiled for each form of lanes. `run` and what it calls are to be inlined.
pub(crate) trait Job {
    type Output;
    fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs a job with the best instructions of this machine.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions compiled for more instructions")
)]
pub(crate) fn run<J: Job>(job: J) -> J::Output {
    match Instructions::best() {
        // SAFETY: this machine has them, as `best` has found.
        #[cfg(target_arch = "x86_64")]
        Instructions::Amx | Instructions::Avx512Bf16 => unsafe { x86::run_avx512_bf16(job) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => unsafe { x86::run_avx512(job) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { x86::run_avx2(job) },
        _ => job.run::<Portable>(),
    }
}

/// An element that fills lanes.
pub(crate) trait Fill: Element {
    fn fill<L: Lanes>(values: &[Self; LANES]) -> L;
}

impl Fill for f32 {
    #[inline(always)]
    fn fill<L: Lanes>(values: &[Self; LANES]) -> L {
        L::load(values)
    }
}

impl Fill for bf16 {
    #[inline(always)]
    fn fill<L: Lanes>(values: &[Self; LANES]) -> L {
        L::load_bf16(values)
    }
}

impl Fill for f16 {
    #[inline(always)]
    fn fill<L: Lanes>(values: &[Self; LANES]) -> L {
        L::load(&values.map(Element::widen))
    }
}

/// Any machine; rounds products before it adds them.
#[derive(Clone, Copy)]
struct Portable([f32; LANES]);

impl Lanes for Portable {
    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; LANES])
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn load_bf16(values: &[bf16; LANES]) -> Self {
        Self(values.map(Element::widen))
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    fn add_pair_products(mut self, weight: &[[bf16; 2]; LANES], x: [bf16; 2]) -> Self {
        for (sum, weight) in self.0.iter_mut().zip(weight) {
            *sum += weight[0].widen() * x[0].widen();
            *sum += weight[1].widen() * x[1].widen();
        }
        self
    }

    #[inline(always)]
    fn add_product(mut self, a: Self, b: Self) -> Self {
        for (sum, (a, b)) in self.0.iter_mut().zip(a.0.iter().zip(&b.0)) {
            *sum += a * b;
        }
        self
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }
}
