//! How a weight lies in memory for the fast product, and how rows of `x` are multiplied with it.
//!
//! A panel is [`LANES`] rows of the weight, interleaved: a group holds one element of each row, or
//! of bf16, whose products come in pairs, two; the groups of a panel follow one another along the
//! rows. So a product reads a weight once, from front to back, and a lane is one element of the
//! result: nothing is added up across lanes. Rows of `x` are packed likewise, [`BAND`] beside each
//! other, and one group is multiplied with a band of them.
//!
//! A sum runs along the row alone, in segments: its bits do not depend on band or panel.

use half::{bf16, f16};

use super::pages::Plain;
use crate::element::Element;
use crate::lanes::{LANES, Lanes, prefetch, widen};

/// Rows of `x` that are multiplied together, at most.
pub(super) const BAND: usize = 16;
/// Groups that are summed up from zero: the longer a sum, the more it loses.
const SEGMENT: usize = 256;
/// Groups that are asked for before they are used: a page of them.
const AHEAD: usize = 64;

/// An element type that weights can be packed in.
pub(crate) trait Packs: Element {
    /// One element of each row of a panel, or two.
    type Group: Plain;
    /// What a group is multiplied with: one element of a row of `x`, or two.
    type X: Copy + Send + Sync;
    /// How many.
    const PAIR: usize;

    /// The group of the elements that `at` gives for a lane and an index below `PAIR`.
    fn group(at: impl Fn(usize, usize) -> Self) -> Self::Group;
    /// `PAIR` elements of a row, or fewer at its end.
    fn x(elements: &[Self]) -> Self::X;
    fn add_products<L: Lanes, const R: usize>(
        sums: &mut [L; R],
        group: &Self::Group,
        x: &[Self::X; R],
    );

    /// How many of `X` lie side by side before the next row of the band.
    fn stretch() -> usize {
        1
    }
}

// SAFETY: an array of numbers.
#[expect(unsafe_code, reason = "a promise about memory")]
unsafe impl Plain for [f32; LANES] {}
// SAFETY: an array of numbers.
#[expect(unsafe_code, reason = "a promise about memory")]
unsafe impl Plain for [f16; LANES] {}
// SAFETY: an array of numbers.
#[expect(unsafe_code, reason = "a promise about memory")]
unsafe impl Plain for [[bf16; 2]; LANES] {}

impl Packs for f32 {
    type Group = [Self; LANES];
    type X = Self;
    const PAIR: usize = 1;

    fn group(at: impl Fn(usize, usize) -> Self) -> Self::Group {
        std::array::from_fn(|lane| at(lane, 0))
    }

    fn x(elements: &[Self]) -> Self::X {
        elements[0]
    }

    #[inline(always)]
    fn add_products<L: Lanes, const R: usize>(
        sums: &mut [L; R],
        group: &Self::Group,
        x: &[Self::X; R],
    ) {
        let weight = L::load(group);
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum = sum.add_product(weight, L::splat(x));
        }
    }
}

impl Packs for f16 {
    type Group = [Self; LANES];
    type X = f32;
    const PAIR: usize = 1;

    fn group(at: impl Fn(usize, usize) -> Self) -> Self::Group {
        std::array::from_fn(|lane| at(lane, 0))
    }

    fn x(elements: &[Self]) -> Self::X {
        elements[0].widen()
    }

    #[inline(always)]
    fn add_products<L: Lanes, const R: usize>(
        sums: &mut [L; R],
        group: &Self::Group,
        x: &[Self::X; R],
    ) {
        f32::add_products(sums, &widen(group), x);
    }
}

impl Packs for bf16 {
    type Group = [[Self; 2]; LANES];
    type X = [Self; 2];
    const PAIR: usize = 2;

    fn group(at: impl Fn(usize, usize) -> Self) -> Self::Group {
        std::array::from_fn(|lane| [at(lane, 0), at(lane, 1)])
    }

    fn x(elements: &[Self]) -> Self::X {
        [elements[0], elements.get(1).copied().unwrap_or_default()]
    }

    #[inline(always)]
    fn add_products<L: Lanes, const R: usize>(
        sums: &mut [L; R],
        group: &Self::Group,
        x: &[Self::X; R],
    ) {
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum = sum.add_pair_products(group, x);
        }
    }

    fn stretch() -> usize {
        match super::amx::is_there() {
            true => super::amx::STRETCH,
            false => 1,
        }
    }
}

/// `R` rows of a band, `x[i]` holding what group `i` is multiplied with, by one panel.
#[inline(always)]
pub(super) fn tile<T: Packs, L: Lanes, const R: usize>(
    x: &[[T::X; R]],
    panel: &[T::Group],
) -> [[f32; LANES]; R] {
    let mut totals = [L::zero(); R];
    for (x, panel) in x.chunks(SEGMENT).zip(panel.chunks(SEGMENT)) {
        let mut sums = [L::zero(); R];
        for (x, group) in x.iter().zip(panel) {
            prefetch(group, AHEAD);
            T::add_products(&mut sums, group, x);
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = total.add(sum);
        }
    }
    let mut arrays = [[0.0; LANES]; R];
    for (array, total) in arrays.iter_mut().zip(totals) {
        *array = total.to_array();
    }
    arrays
}
