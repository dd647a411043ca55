//! The forms of lanes for x86.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use half::bf16;

use super::{Job, LANES, Lanes};

// SAFETY, for every block below: the loads and stores stay within arrays of sixteen elements,
// need no alignment, and bf16 is a transparent u16. The instructions are there: these types
// are used only by functions that the caller has detected avx512f, or avx2 and fma, for.

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn run_avx512_bf16<J: Job>(job: J) -> J::Output {
    job.run::<Avx512<true>>()
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn run_avx512<J: Job>(job: J) -> J::Output {
    job.run::<Avx512<false>>()
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn run_avx2<J: Job>(job: J) -> J::Output {
    job.run::<Avx2>()
}

/// Machines with AVX-512, and `BF16` where there are products of bf16.
#[derive(Clone, Copy)]
struct Avx512<const BF16: bool>(__m512);

impl<const BF16: bool> Lanes for Avx512<BF16> {
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
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn add_pair_products(self, weight: &[[bf16; 2]; LANES], x: [bf16; 2]) -> Self {
        // SAFETY: see above; `BF16` is set only where those instructions have been found, too.
        Self(unsafe {
            let pairs = _mm512_loadu_si512(weight.as_ptr().cast());
            let x = _mm512_set1_epi32(word(x));
            if BF16 {
                let (pairs, x) = (as_bf16(pairs), as_bf16(x));
                return Self(_mm512_dpbf16_ps(self.0, pairs, x));
            }
            let first = |pairs| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
            let high = _mm512_set1_epi32(HIGH_HALF);
            let second = |pairs| _mm512_castsi512_ps(_mm512_and_si512(pairs, high));
            let sum = _mm512_fmadd_ps(first(pairs), first(x), self.0);
            _mm512_fmadd_ps(second(pairs), second(x), sum)
        })
    }

    /// A tree of shuffles: each step halves the lanes of two and puts them side by side.
    #[inline(always)]
    fn sums(each: [Self; LANES]) -> [f32; LANES] {
        let by_fours = |i: usize| {
            let first = halves(each[i].0, each[i + 4].0);
            quarters(first, halves(each[i + 8].0, each[i + 12].0))
        };
        let by_twos = |i: usize| pairs(by_fours(i), by_fours(i + 1));
        Self(singles(by_twos(0), by_twos(2))).to_array()
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
struct Avx2(__m256, __m256);

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
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm256_add_ps(self.0, other.0),
                _mm256_add_ps(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    fn add_pair_products(self, weight: &[[bf16; 2]; LANES], x: [bf16; 2]) -> Self {
        // SAFETY: see above.
        unsafe {
            let first = |pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
            let high = _mm256_set1_epi32(HIGH_HALF);
            let second = |pairs| _mm256_castsi256_ps(_mm256_and_si256(pairs, high));
            let x = _mm256_set1_epi32(word(x));
            let half = |sum, start| {
                let pairs = _mm256_loadu_si256(weight.as_ptr().add(start).cast());
                let sum = _mm256_fmadd_ps(first(pairs), first(x), sum);
                _mm256_fmadd_ps(second(pairs), second(x), sum)
            };
            Self(half(self.0, 0), half(self.1, 8))
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

/// The upper of two bf16 in a word; as f32 it is its own widening.
const HIGH_HALF: i32 = 0xFFFF_0000_u32 as i32;

/// Two bf16 as one word, the first below.
#[inline(always)]
fn word([first, second]: [bf16; 2]) -> i32 {
    (u32::from(second.to_bits()) << 16 | u32::from(first.to_bits())) as i32
}

#[inline(always)]
fn as_bf16(words: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of which any are valid.
    unsafe { std::mem::transmute(words) }
}

/// The halves of `a` added up, then those of `b`: 8 lanes each.
#[inline(always)]
fn halves(a: __m512, b: __m512) -> __m512 {
    // SAFETY: only `Avx512` calls this.
    unsafe {
        let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
        let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b);
        _mm512_add_ps(low, high)
    }
}

/// Of two results of [`halves`]: 4 lanes for each of the four.
#[inline(always)]
fn quarters(a: __m512, b: __m512) -> __m512 {
    // SAFETY: only `Avx512` calls this.
    unsafe {
        let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        _mm512_add_ps(low, high)
    }
}

/// Of two results of [`quarters`]: within each four lanes, 2 of `a` and 2 of `b`.
#[inline(always)]
fn pairs(a: __m512, b: __m512) -> __m512 {
    // SAFETY: only `Avx512` calls this.
    unsafe {
        let low = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
        let high = _mm512_shuffle_ps::<0b11_10_11_10>(a, b);
        _mm512_add_ps(low, high)
    }
}

/// Of two results of [`pairs`]: one lane for each of the sixteen.
#[inline(always)]
fn singles(a: __m512, b: __m512) -> __m512 {
    // SAFETY: only `Avx512` calls this.
    unsafe {
        let low = _mm512_shuffle_ps::<0b10_00_10_00>(a, b);
        let high = _mm512_shuffle_ps::<0b11_01_11_01>(a, b);
        _mm512_add_ps(low, high)
    }
}
