//! The product with weights that were packed when they were loaded; see [`panel`](super::panel).
//!
//! Jobs are runs of panels, for all rows of `x`. A job goes block by block, a block being what the
//! second level of cache holds, band by band, panel by panel: so a weight comes from memory once,
//! whatever the number of rows, and a band of `x` stays near while a block of panels passes it.

use candle_core::{DType, Result, Tensor, bail};
use half::bf16;

use super::pages::Pages;
use super::panel::{BAND, Packs, tile};
use super::{NAME, Plain, add_bias, amx};
use crate::element::{check_dtype, host, with_elements};
use crate::lanes::{self, LANES, Lanes};
use crate::stripes::{Stripes, for_each_chunk};
use crate::team;

/// What a block of panels may take of the second level of cache.
const BLOCK_BYTES: usize = 512 << 10;
/// Stretches of each row that are packed before the next row's.
const STRETCHES_AT_ONCE: usize = 64;
/// Jobs for each thread: enough to even out threads that are interrupted.
const JOBS_PER_THREAD: usize = 4;

/// The weight of a product, `[out, in]`, as it lies best where it is, and what is added to the product.
pub struct LinearWeight {
    form: Form,
    size_out: usize,
    bias: Option<Tensor>,
}

enum Form {
    /// As it came: on a card, and where kernels are emulated or plain loops are asked for.
    Plain(Tensor),
    F32(Panels<f32>),
    Bf16(Panels<bf16>),
    F16(Panels<half::f16>),
}

impl LinearWeight {
    /// Takes a weight `[out, in]`, contiguous, f32, bf16 or f16; on the CPU a copy of it.
    ///
    /// # Errors
    /// Another shape or dtype, or no memory.
    pub fn new(weight: &Tensor) -> Result<Self> {
        check_dtype(NAME, "the weight", weight.dtype())?;
        let (size_out, _) = weight.dims2()?;
        let form = match weight.dtype() {
            _ if stays_plain(weight) => Form::Plain(weight.clone()),
            DType::BF16 => Form::Bf16(Panels::pack(weight)?),
            DType::F16 => Form::F16(Panels::pack(weight)?),
            _ => Form::F32(Panels::pack(weight)?),
        };
        Ok(Self {
            form,
            size_out,
            bias: None,
        })
    }

    /// Adds `bias`, `[out]`, to each row of the product, once that is rounded to the dtype, which is
    /// the bias's too.
    ///
    /// # Errors
    /// Another shape or dtype.
    pub fn with_bias(mut self, bias: Tensor) -> Result<Self> {
        if bias.dims() != [self.size_out] || bias.dtype() != self.form.dtype() {
            bail!(
                "{NAME}: a bias {:?} of {:?} for a weight of {} rows of {:?}",
                bias.dims(),
                bias.dtype(),
                self.size_out,
                self.form.dtype()
            );
        }
        self.bias = Some(bias);
        Ok(self)
    }
}

impl Form {
    fn dtype(&self) -> DType {
        match self {
            Self::Plain(weight) => weight.dtype(),
            Self::F32(_) => DType::F32,
            Self::Bf16(_) => DType::BF16,
            Self::F16(_) => DType::F16,
        }
    }
}

fn stays_plain(weight: &Tensor) -> bool {
    #[cfg(any(feature = "cuda", feature = "emulation"))]
    if crate::device::backend_of(weight).is_some() {
        return true;
    }
    !weight.device().is_cpu() || crate::plain::is_asked_for()
}

/// [`linear`](super::linear) with each of the weights, all at once, and their biases added.
///
/// Sums are f32. On the CPU a row's bits depend on the row alone, not on its batch; they are not
/// those of [`linear`](super::linear), which adds up in another order. On a card they are those, and
/// up to three products of up to eight rows are one launch.
///
/// # Errors
/// As there.
pub fn linears<const N: usize>(x: &Tensor, weights: [&LinearWeight; N]) -> Result<[Tensor; N]> {
    let out = match weights[0].form {
        Form::Plain(_) => super::products(x, &plain(weights)?)?,
        _ => with_elements!(x, T => products::<T, N>(x, weights)?),
    };
    match out.try_into() {
        Ok(out) => Ok(out),
        Err(_) => unreachable!("a result a weight"),
    }
}

fn plain<const N: usize>(weights: [&LinearWeight; N]) -> Result<Vec<Plain<'_>>> {
    let plain = weights.into_iter().map(|whole| match &whole.form {
        Form::Plain(weight) => Ok(Plain {
            weight,
            bias: whole.bias.as_ref(),
        }),
        _ => bail!("{NAME}: weights on several devices"),
    });
    plain.collect()
}

fn products<T: Packable, const N: usize>(
    x: &Tensor,
    weights: [&LinearWeight; N],
) -> Result<Vec<Tensor>> {
    let (rows, size_in) = x.dims2()?;
    check_dtype(NAME, "x", x.dtype())?;
    let panels: Vec<&Panels<T>> = weights
        .iter()
        .map(|weight| T::panels(&weight.form))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            candle_core::Error::Msg(format!("{NAME}: x is {:?}, a weight not", x.dtype()))
        })?;
    if let Some(other) = panels.iter().find(|panels| panels.size_in != size_in) {
        bail!(
            "{NAME}: x of {:?} does not fit a weight of {:?}",
            x.dims(),
            [other.size_out, other.size_in]
        );
    }
    let x_host = host(x);
    let bands = Bands::pack(x_host.elements::<T>(NAME)?, size_in);
    let mut outs: Vec<Vec<T>> = panels
        .iter()
        .map(|panels| vec![T::zero(); rows * panels.size_out])
        .collect();
    multiply(&bands, &panels, &mut outs);
    let tensors = outs.into_iter().zip(weights).map(|(out, weight)| {
        let product = Tensor::from_vec(out, (rows, weight.size_out), x.device())?;
        add_bias(product, weight.bias.as_ref())
    });
    tensors.collect()
}

fn multiply<T: Packable>(bands: &Bands<T>, weights: &[&Panels<T>], outs: &mut [Vec<T>]) {
    let total: usize = weights.iter().map(|weight| weight.count()).sum();
    // Even, as two panels are taken at a time.
    let len = total
        .div_ceil(JOBS_PER_THREAD * team::size())
        .next_multiple_of(2);
    let mut jobs = Vec::new();
    for (index, weight) in weights.iter().enumerate() {
        let starts = (0..weight.count()).step_by(len);
        jobs.extend(starts.map(|start| (index, start..weight.count().min(start + len))));
    }
    let outs: Vec<Stripes<'_, T>> = outs
        .iter_mut()
        .zip(weights)
        .map(|(out, weight)| Stripes::new(out, weight.size_out))
        .collect();
    team::run(jobs.len(), |job| {
        let (weight, panels) = jobs[job].clone();
        let run = Run {
            bands,
            weight: weights[weight],
            out: &outs[weight],
        };
        run.multiply(panels);
    });
}

/// A weight, packed.
pub(super) struct Panels<T: Packs> {
    groups: Pages<T::Group>,
    /// Groups of one panel: the rows filled up with zeros.
    depth: usize,
    size_in: usize,
    size_out: usize,
}

impl<T: Packs> Panels<T> {
    fn pack(weight: &Tensor) -> Result<Self> {
        let (size_out, size_in) = weight.dims2()?;
        let depth = depth::<T>(size_in);
        let mut groups = Pages::zeroed(size_out.div_ceil(LANES) * depth)?;
        let weight = host(weight);
        let rows = weight.elements::<T>(NAME)?;
        for_each_chunk(groups.elements_mut(), depth.max(1), |panel, groups| {
            for (index, group) in groups.iter_mut().enumerate() {
                *group = T::group(|lane, of_pair| {
                    let (row, at) = (panel * LANES + lane, index * T::PAIR + of_pair);
                    match row < size_out && at < size_in {
                        true => rows[row * size_in + at],
                        false => T::zero(),
                    }
                });
            }
        });
        Ok(Self {
            groups,
            depth,
            size_in,
            size_out,
        })
    }

    fn count(&self) -> usize {
        self.size_out.div_ceil(LANES)
    }

    fn panel(&self, index: usize) -> &[T::Group] {
        &self.groups.elements()[index * self.depth..][..self.depth]
    }
}

/// Groups of a row: whole stretches of them.
fn depth<T: Packs>(size_in: usize) -> usize {
    size_in.div_ceil(T::PAIR).next_multiple_of(T::stretch())
}

/// Rows of `x`, packed in bands; the last one, if it is not full, is filled up with zeros to a power
/// of two.
struct Bands<T: Packs> {
    /// `[bands, depth / stretch, rows of the band, stretch]`
    x: Vec<T::X>,
    depth: usize,
    rows: usize,
}

impl<T: Packs> Bands<T> {
    fn pack(x: &[T], size_in: usize) -> Self {
        let depth = depth::<T>(size_in);
        let rows = x.len() / size_in.max(1);
        let last = (rows % BAND).next_power_of_two() * usize::from(!rows.is_multiple_of(BAND));
        let padded = rows / BAND * BAND + last;
        let mut packed = vec![T::x(&[T::zero()]); padded * depth];
        for_each_chunk(&mut packed, (BAND * depth).max(1), |band, packed| {
            let rows = &x[band * BAND * size_in..x.len().min((band + 1) * BAND * size_in)];
            pack_band::<T>(rows, size_in, packed, packed.len() / depth);
        });
        Self {
            x: packed,
            depth,
            rows,
        }
    }

    fn count(&self) -> usize {
        self.rows.div_ceil(BAND)
    }

    /// What a band holds, and its first row and number of rows.
    fn band(&self, index: usize) -> (&[T::X], usize, usize) {
        let start = index * BAND;
        let end = self.x.len().min((start + BAND) * self.depth);
        (
            &self.x[start * self.depth..end],
            start,
            BAND.min(self.rows - start),
        )
    }
}

/// `rows` `[some, size_in]` into `packed` `[depth / stretch, band_rows, stretch]`, a part of all rows
/// at a time, so that what is written stays near.
fn pack_band<T: Packs>(rows: &[T], size_in: usize, packed: &mut [T::X], band_rows: usize) {
    let stretch = T::stretch();
    let part = STRETCHES_AT_ONCE * stretch * T::PAIR;
    for (index, packed) in packed
        .chunks_mut(STRETCHES_AT_ONCE * stretch * band_rows)
        .enumerate()
    {
        for (row, elements) in rows.chunks_exact(size_in).enumerate() {
            let elements = &elements[index * part..size_in.min((index + 1) * part)];
            let stretches = elements.chunks(stretch * T::PAIR);
            for (index, elements) in stretches.enumerate() {
                let packed = &mut packed[(index * band_rows + row) * stretch..][..stretch];
                let pairs = elements.chunks(T::PAIR).map(T::x);
                packed.iter_mut().zip(pairs).for_each(|(x, pair)| *x = pair);
            }
        }
    }
}

/// The product of all rows with one weight.
struct Run<'a, T: Packs> {
    bands: &'a Bands<T>,
    weight: &'a Panels<T>,
    out: &'a Stripes<'a, T>,
}

impl<T: Packable> Run<'_, T> {
    fn multiply(&self, panels: std::ops::Range<usize>) {
        let panel_bytes = self.weight.depth * size_of::<T::Group>();
        let block = (BLOCK_BYTES / panel_bytes.max(1)).next_multiple_of(2);
        for start in panels.clone().step_by(block) {
            T::multiply(self, start..panels.end.min(start + block));
        }
    }

    /// Writes what a panel gives for a band, row by row.
    #[inline(always)]
    fn write(&self, first_row: usize, panel: usize, sums: &[[f32; LANES]]) {
        let columns = panel * LANES..self.weight.size_out.min((panel + 1) * LANES);
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: each panel belongs to one job, which writes each row of it once.
            #[expect(unsafe_code, reason = "columns of one matrix on several threads")]
            let out = unsafe { self.out.part(first_row + row, columns.clone()) };
            let narrow = lanes::narrow::<T>(*sums);
            match <&mut [T; LANES]>::try_from(&mut *out) {
                Ok(out) => *out = narrow,
                // The last panel, where it is not full.
                Err(_) => out.copy_from_slice(&narrow[..out.len()]),
            }
        }
    }
}

/// A dtype of weights.
trait Packable: Packs {
    fn panels(form: &Form) -> Option<&Panels<Self>>;

    /// All rows by some panels.
    fn multiply(run: &Run<'_, Self>, panels: std::ops::Range<usize>) {
        lanes::run(ByLanes(run, panels));
    }
}

impl Packable for f32 {
    fn panels(form: &Form) -> Option<&Panels<Self>> {
        match form {
            Form::F32(panels) => Some(panels),
            _ => None,
        }
    }
}

impl Packable for half::f16 {
    fn panels(form: &Form) -> Option<&Panels<Self>> {
        match form {
            Form::F16(panels) => Some(panels),
            _ => None,
        }
    }
}

impl Packable for bf16 {
    fn panels(form: &Form) -> Option<&Panels<Self>> {
        match form {
            Form::Bf16(panels) => Some(panels),
            _ => None,
        }
    }

    fn multiply(run: &Run<'_, Self>, panels: std::ops::Range<usize>) {
        match amx::is_there() {
            true => lanes::run(ByTiles(run, panels)),
            false => lanes::run(ByLanes(run, panels)),
        }
    }
}

/// By the vector registers.
struct ByLanes<'a, T: Packs>(&'a Run<'a, T>, std::ops::Range<usize>);

impl<T: Packable> lanes::Job for ByLanes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self(run, panels) = self;
        for band in 0..run.bands.count() {
            let (x, first_row, rows) = run.bands.band(band);
            match x.len() / run.bands.depth.max(1) {
                1 => by_lanes::<T, L, 1>(run, x, (first_row, rows), panels.clone()),
                2 => by_lanes::<T, L, 2>(run, x, (first_row, rows), panels.clone()),
                4 => by_lanes::<T, L, 4>(run, x, (first_row, rows), panels.clone()),
                8 => by_lanes::<T, L, 8>(run, x, (first_row, rows), panels.clone()),
                _ => by_lanes::<T, L, BAND>(run, x, (first_row, rows), panels.clone()),
            }
        }
    }
}

#[inline(always)]
fn by_lanes<T: Packable, L: Lanes, const R: usize>(
    run: &Run<'_, T>,
    x: &[T::X],
    (first_row, rows): (usize, usize),
    panels: std::ops::Range<usize>,
) {
    let (x, _) = x.as_chunks::<R>();
    for panel in panels {
        let sums = tile::<T, L, R>(x, run.weight.panel(panel));
        run.write(first_row, panel, &sums[..rows]);
    }
}

/// By the tile registers, two bands with two panels at a time; lanes narrow what they give.
struct ByTiles<'a>(&'a Run<'a, bf16>, std::ops::Range<usize>);

impl lanes::Job for ByTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self(run, panels) = self;
        let count = run.bands.count();
        for band in (0..count).step_by(2) {
            match count - band {
                1 => bands_by_tiles(run, [band], panels.clone()),
                _ => bands_by_tiles(run, [band, band + 1], panels.clone()),
            }
        }
    }
}

#[inline(always)]
fn bands_by_tiles<const B: usize>(
    run: &Run<'_, bf16>,
    bands: [usize; B],
    panels: std::ops::Range<usize>,
) {
    let depth = run.weight.depth;
    let operands = bands.map(|band| {
        let (x, ..) = run.bands.band(band);
        let rows = x.len() / depth;
        amx::Band { x, rows }
    });
    for first in panels.clone().step_by(2) {
        // The last of an odd number is taken twice.
        let pair = [first, (first + 1).min(panels.end - 1)];
        let sums = amx::tiles(operands, pair.map(|panel| run.weight.panel(panel)));
        for (&band, sums) in bands.iter().zip(&sums) {
            let (_, first_row, rows) = run.bands.band(band);
            let written = if pair[0] == pair[1] { 1 } else { 2 };
            for (&panel, sums) in pair.iter().zip(sums).take(written) {
                run.write(first_row, panel, &sums[..rows]);
            }
        }
    }
}
