//! Products of bf16 in the tile registers of x86 (AMX): sixteen rows of `x` by a panel, thirty-two
//! elements of the rows at a time.
//!
//! Each row of a tile is summed for itself, in an order that the instruction fixes, so a row's bits
//! do not depend on its neighbours. The compiler knows these registers by name alone: hence
//! assembly.
//!
//! Source: Intel's Software Developer's Manual, TDPBF16PS.

use crate::lanes::Instructions;

/// Pairs of one row in a tile.
pub(super) const STRETCH: usize = 16;

/// Bytes of a tile's row.
const ROW_BYTES: usize = 64;

pub(crate) use imp::has_tile_registers;
pub(super) use imp::tiles;

/// Whether these registers are used.
pub(super) fn is_there() -> bool {
    Instructions::best() == Instructions::Amx
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod imp {
    pub(crate) fn has_tile_registers() -> bool {
        false
    }

    pub(in crate::linear) fn tiles<const B: usize>(
        _: [super::Band<'_>; B],
        _: [super::Panel<'_>; 2],
    ) -> super::Sums<B> {
        unreachable!("`is_there` has said no")
    }
}

/// Rows of `x`, 1 to 16: `[size_in / 32, rows, STRETCH]`.
#[derive(Clone, Copy)]
pub(super) struct Band<'a> {
    pub(super) x: &'a [[half::bf16; 2]],
    pub(super) rows: usize,
}

/// `[size_in / 2]` groups, 16 of them a tile.
pub(super) type Panel<'a> = &'a [[[half::bf16; 2]; crate::lanes::LANES]];

/// For each band and each of two panels `[rows, LANES]`; what is beyond a band's rows is not
/// defined.
pub(super) type Sums<const B: usize> = [[[[f32; crate::lanes::LANES]; 16]; 2]; B];

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "instructions that the compiler does not know")]
mod imp {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::{Band, Panel, ROW_BYTES, STRETCH, Sums, is_there};

    /// Whether this machine has them and the system lets this process use them.
    pub(crate) fn has_tile_registers() -> bool {
        has_instructions() && is_permitted()
    }

    fn has_instructions() -> bool {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        let features = __cpuid_count(7, 0).edx;
        features & AMX_BF16 != 0 && features & AMX_TILE != 0
    }

    /// Asks the system to keep these registers for this process: `arch_prctl(2)`.
    fn is_permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const XFEATURE_XTILEDATA: u64 = 18;
        let answer: i64;
        // SAFETY: this call takes two numbers and touches no memory of ours.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => answer,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        answer == 0
    }

    /// The sums of one or two bands with two panels.
    pub(in crate::linear) fn tiles<const B: usize>(
        bands: [Band<'_>; B],
        panels: [Panel<'_>; 2],
    ) -> Sums<B> {
        let steps = panels[0].len() / STRETCH;
        assert!(is_there() && (1..=2).contains(&B) && steps > 0);
        for panel in panels {
            assert_eq!(panel.len(), steps * STRETCH);
        }
        for band in bands {
            assert!((1..=16).contains(&band.rows));
            assert_eq!(band.x.len(), steps * band.rows * STRETCH);
        }
        let config = Config::new(bands.map(|band| band.rows));
        let mut sums = [[[[0.0; 16]; 16]; 2]; B];
        let x = bands.map(|band| band.x.as_ptr().cast());
        let x_bytes = bands.map(|band| band.rows * ROW_BYTES);
        let panels = panels.map(|panel| panel.as_ptr().cast());
        let out: *mut f32 = sums.as_mut_ptr().cast();
        // SAFETY: the instructions are there; by the lengths checked above each of `steps` tiles
        // lies within its band or panel; `out` takes two tiles a band.
        unsafe {
            match B {
                1 => one_band(&config, x[0], x_bytes[0], panels, steps, out),
                _ => two_bands(
                    &config,
                    [x[0], x[1]],
                    [x_bytes[0], x_bytes[1]],
                    panels,
                    steps,
                    out,
                ),
            }
        }
        sums
    }

    /// What the tile registers are to hold: 0 to 3 sums, 4 and 5 bands, 6 and 7 panels.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    impl Config {
        fn new<const B: usize>(band_rows: [usize; B]) -> Self {
            let (first, second) = (band_rows[0] as u8, band_rows[B - 1] as u8);
            let mut row_bytes = [0; 16];
            row_bytes[..8].fill(ROW_BYTES as u16);
            let mut rows = [0; 16];
            rows[..8].copy_from_slice(&[first, first, second, second, first, second, 16, 16]);
            Self {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                row_bytes,
                rows,
            }
        }
    }

    /// # Safety
    /// `steps` tiles lie at `x`, `x_bytes` apart, and at each of `panels`, 1024 bytes apart; two
    /// tiles of 16 rows fit at `out`.
    unsafe fn one_band(
        config: &Config,
        x: *const u8,
        x_bytes: usize,
        panels: [*const u8; 2],
        steps: usize,
        out: *mut f32,
    ) {
        // SAFETY: the caller's promise; the tile registers are ours between the first and the last
        // line, and are given back.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                // The tiles of four steps on, line by line: see `lanes::prefetch`.
                ".irp line, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "prefetcht0 [{w0} + 4096 + 64 * \\line]",
                "prefetcht0 [{w1} + 4096 + 64 * \\line]",
                ".endr",
                "tileloadd tmm4, [{x} + {row}*1]",
                "tileloadd tmm6, [{w0} + {row}*1]",
                "tileloadd tmm7, [{w1} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {x}, {x_bytes}",
                "add {w0}, 1024",
                "add {w1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{out} + {row}*1], tmm0",
                "tilestored [{out} + {row}*1 + 1024], tmm1",
                "tilerelease",
                config = in(reg) config,
                x = inout(reg) x => _,
                x_bytes = in(reg) x_bytes,
                w0 = inout(reg) panels[0] => _,
                w1 = inout(reg) panels[1] => _,
                row = in(reg) ROW_BYTES,
                steps = inout(reg) steps => _,
                out = in(reg) out,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    /// # Safety
    /// As for [`one_band`], with four tiles at `out`.
    unsafe fn two_bands(
        config: &Config,
        x: [*const u8; 2],
        x_bytes: [usize; 2],
        panels: [*const u8; 2],
        steps: usize,
        out: *mut f32,
    ) {
        // SAFETY: as in `one_band`.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{x0} + {row}*1]",
                "tileloadd tmm6, [{w0} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w1} + {row}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x1} + {row}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {x0}, {x0_bytes}",
                "add {x1}, {x1_bytes}",
                "add {w0}, 1024",
                "add {w1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{out} + {row}*1], tmm0",
                "tilestored [{out} + {row}*1 + 1024], tmm1",
                "tilestored [{out} + {row}*1 + 2048], tmm2",
                "tilestored [{out} + {row}*1 + 3072], tmm3",
                "tilerelease",
                config = in(reg) config,
                x0 = inout(reg) x[0] => _,
                x1 = inout(reg) x[1] => _,
                x0_bytes = in(reg) x_bytes[0],
                x1_bytes = in(reg) x_bytes[1],
                w0 = inout(reg) panels[0] => _,
                w1 = inout(reg) panels[1] => _,
                row = in(reg) ROW_BYTES,
                steps = inout(reg) steps => _,
                out = in(reg) out,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}
