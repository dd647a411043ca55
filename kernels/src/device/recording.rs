//! Launches of the emulation as data, to be run again: what a CUDA graph is on a card.

use std::cell::RefCell;

use candle_core::{Result, Tensor};

use super::emulation::{Emulated, Order, Undefine, emulate};
use super::{Backend, Launch, ParamBlock};

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// The launches that some work made, with the memory that they touch.
///
/// As in a CUDA graph, grids and parameters stay what they were: numbers and addresses. What is to
/// change from run to run, kernels must read from memory that stays where it is. What the host
/// computed in between is not in it, neither tables that it made nor Candle's own loops. Products
/// that are cuBLAS's on a card are: it launches kernels, and here they are done over, from the same
/// memory to the same.
#[derive(Default)]
pub struct Recording {
    launches: Vec<Recorded>,
    /// Made for the launches: not defined when a run begins.
    made: Vec<Tensor>,
    /// What they read and write, which lives as long as its addresses are in the parameters.
    touched: Vec<Tensor>,
}

enum Recorded {
    Ours(Kernel),
    /// What another library launches on a card, and where the result lies.
    Library(Box<dyn Fn() -> Result<Tensor>>, Tensor),
}

/// A launch that owns its parameters.
struct Kernel {
    module: &'static str,
    kernel: String,
    grid: [u32; 3],
    threads: u32,
    shared_bytes: u32,
    params: Box<ParamBlock>,
    params_bytes: usize,
}

/// Runs `work` in the emulation, and keeps what it launched on this thread.
pub fn record<R>(order: Order, work: impl FnOnce() -> R) -> (R, Recording) {
    let before = RECORDING.replace(Some(Recording::default()));
    let result = emulate(order, work);
    let recording = RECORDING.replace(before).unwrap_or_default();
    (result, recording)
}

impl Recording {
    /// Runs the launches again, with the contents that the memory has now. Tensors that the work
    /// made are not defined at first, as they were then; its results lie where they lay.
    ///
    /// # Errors
    /// A kernel fails.
    pub fn replay(&self, order: Order) -> Result<()> {
        for tensor in &self.made {
            tensor.inplace_op1(&Undefine)?;
        }
        let emulated = Emulated(order);
        self.launches
            .iter()
            .try_for_each(|launch| launch.run(&emulated))
    }
}

impl Recorded {
    fn run(&self, emulated: &Emulated) -> Result<()> {
        match self {
            Self::Ours(kernel) => kernel.run(emulated),
            Self::Library(compute, out) => out.slice_set(&compute()?, 0, 0),
        }
    }
}

impl Kernel {
    fn of(launch: &Launch<'_>) -> Self {
        Self {
            module: launch.module,
            kernel: launch.kernel.clone(),
            grid: launch.grid,
            threads: launch.threads,
            shared_bytes: launch.shared_bytes,
            params: Box::new(ParamBlock::of(launch.params)),
            params_bytes: launch.params.len(),
        }
    }

    fn run(&self, emulated: &Emulated) -> Result<()> {
        let launch = Launch {
            module: self.module,
            kernel: self.kernel.clone(),
            grid: self.grid,
            threads: self.threads,
            shared_bytes: self.shared_bytes,
            params: &self.params.0[..self.params_bytes],
        };
        // SAFETY: the promise of who launched it first holds again: the parameters are the same,
        // and the recording keeps the tensors that they name.
        #[expect(unsafe_code, reason = "runs a kernel again")]
        unsafe {
            emulated.launch(&launch)
        }
    }
}

pub(super) fn made(tensor: &Tensor) {
    with_recording(|recording| recording.made.push(tensor.clone()));
}

pub(super) fn touched(tensor: &Tensor) {
    with_recording(|recording| recording.touched.push(tensor.clone()));
}

pub(super) fn launched(launch: &Launch<'_>) {
    with_recording(|recording| recording.launches.push(Recorded::Ours(Kernel::of(launch))));
}

/// Computes on the host what another library launches on a card.
pub(crate) fn by_library(compute: impl Fn() -> Result<Tensor> + 'static) -> Result<Tensor> {
    let out = compute()?;
    with_recording(|recording| {
        recording.made.push(out.clone());
        let again = Recorded::Library(Box::new(compute), out.clone());
        recording.launches.push(again);
    });
    Ok(out)
}

fn with_recording(note: impl FnOnce(&mut Recording)) {
    RECORDING.with_borrow_mut(|recording| {
        if let Some(recording) = recording {
            note(recording);
        }
    });
}
