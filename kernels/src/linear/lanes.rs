//! Sixteen f32 side by side, in the widest registers that the machine has.

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
    /// `self + a * b`, lane by lane.
    fn add_product(self, a: Self, b: Self) -> Self;
    fn to_array(self) -> [f32; LANES];
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
pub(super) struct Portable([f32; LANES]);

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

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::{LANES, Lanes};

    // SAFETY, for every block below: the loads and stores stay within arrays of sixteen elements,
    // need no alignment, and bf16 is a transparent u16. The instructions are there: these types
    // are used only by functions that the caller has detected avx512f, or avx2 and fma, for.

    /// Machines with AVX-512.
    #[derive(Clone, Copy)]
    pub(in crate::linear) struct Avx512(__m512);

    impl Lanes for Avx512 {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_setzero_ps() })
        }

        #[inline(always)]
        fn load(values: &[f32; LANES]) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_loadu_ps(values.as_ptr()) })
        }

        #[inline(always)]
        fn load_bf16(values: &[bf16; LANES]) -> Self {
            // SAFETY: see above.
            Self(unsafe {
                let narrow = _mm256_loadu_si256(values.as_ptr().cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
            })
        }

        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn to_array(self) -> [f32; LANES] {
            let mut array = [0.0; LANES];
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(array.as_mut_ptr(), self.0) };
            array
        }
    }

    /// Machines with AVX2 and fused multiply-add.
    #[derive(Clone, Copy)]
    pub(in crate::linear) struct Avx2(__m256, __m256);

    impl Lanes for Avx2 {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: see above.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }

        #[inline(always)]
        fn load(values: &[f32; LANES]) -> Self {
            // SAFETY: see above.
            unsafe {
                Self(
                    _mm256_loadu_ps(values.as_ptr()),
                    _mm256_loadu_ps(values.as_ptr().add(8)),
                )
            }
        }

        #[inline(always)]
        fn load_bf16(values: &[bf16; LANES]) -> Self {
            // SAFETY: see above.
            unsafe {
                let half = |start| {
                    let narrow = _mm_loadu_si128(values.as_ptr().add(start).cast());
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(narrow)))
                };
                Self(half(0), half(8))
            }
        }

        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                Self(
                    _mm256_fmadd_ps(a.0, b.0, self.0),
                    _mm256_fmadd_ps(a.1, b.1, self.1),
                )
            }
        }

        #[inline(always)]
        fn to_array(self) -> [f32; LANES] {
            let mut array = [0.0; LANES];
            // SAFETY: see above.
            unsafe {
                _mm256_storeu_ps(array.as_mut_ptr(), self.0);
                _mm256_storeu_ps(array.as_mut_ptr().add(8), self.1);
            }
            array
        }
    }
}
