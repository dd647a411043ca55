//! Which instructions of this machine are used.

use std::sync::OnceLock;

/// The forms that fast loops are compiled in, from the least of machines to the best.
///
/// They differ in speed, and with fused multiply-add in rounding; a process always runs the same
/// one.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "another machine has its own")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Instructions {
    /// Those of any machine.
    Portable,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512, foundation and bytes and words.
    Avx512,
    /// AVX-512 with products of bf16.
    Avx512Bf16,
    /// The same and tile registers.
    Amx,
}

impl Instructions {
    /// The best that this machine has.
    pub(crate) fn best() -> Self {
        static FOUND: OnceLock<Instructions> = OnceLock::new();
        *FOUND.get_or_init(|| Self::detect().min(Self::limit()))
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        let has_avx512 =
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        if has_avx512 && is_x86_feature_detected!("avx512bf16") {
            return match crate::linear::has_tile_registers() {
                true => Self::Amx,
                false => Self::Avx512Bf16,
            };
        }
        if has_avx512 {
            return Self::Avx512;
        }
        match is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            true => Self::Avx2,
            false => Self::Portable,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::Portable
    }

    /// Tests set `PORTCULLIS_CPU_INSTRUCTIONS` to run the forms of lesser machines than theirs.
    #[cfg(feature = "emulation")]
    #[expect(clippy::disallowed_methods, reason = "a setting of tests")]
    fn limit() -> Self {
        match std::env::var("PORTCULLIS_CPU_INSTRUCTIONS").as_deref() {
            Ok("portable") => Self::Portable,
            Ok("avx2") => Self::Avx2,
            Ok("avx512") => Self::Avx512,
            Ok("avx512bf16") => Self::Avx512Bf16,
            Ok(unknown) => panic!("no such instructions: PORTCULLIS_CPU_INSTRUCTIONS={unknown}"),
            Err(_) => Self::Amx,
        }
    }

    #[cfg(not(feature = "emulation"))]
    fn limit() -> Self {
        Self::Amx
    }
}
