//! Where kernels run: a card, or the emulation of one.
//!
//! An op describes its launch once, as data ([`Launch`]), and a [`Backend`] carries it out. So the
//! tests on a machine without a card run the very launch that a card gets, grid and all.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "emulation")]
pub(crate) mod emulation;
#[cfg(feature = "emulation")]
pub(crate) mod recording;

use candle_core::{DType, Device, Result, Shape, Tensor};

/// Threads of a warp.
pub(crate) const WARP: u32 = 32;

/// What can run kernels.
pub(crate) trait Backend {
    /// A tensor whose contents are not defined, to be written by a launch.
    fn empty(&self, shape: Shape, dtype: DType) -> Result<Tensor>;

    /// Where a contiguous tensor lies, for a kernel that reads it.
    fn span(&self, tensor: &Tensor) -> Result<Span>;

    /// Where a contiguous tensor lies, for a kernel that writes it.
    fn span_mut(&self, tensor: &Tensor) -> Result<Span>;

    /// Runs a kernel, after all that was launched before it.
    ///
    /// # Safety
    /// The kernel stays within the spans of its parameters, the tensors behind them live until
    /// it is launched, and `params` has the layout that the kernel was compiled with.
    #[expect(unsafe_code, reason = "kernels work on raw memory")]
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()>;
}

/// The backend that a tensor's ops run on; `None` means the plain loops of `cpu.rs`.
pub(crate) fn backend_of(tensor: &Tensor) -> Option<Box<dyn Backend>> {
    backend_on(tensor.device())
}

/// The same for tensors that are to be made.
pub(crate) fn backend_on(device: &Device) -> Option<Box<dyn Backend>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => Some(Box::new(cuda::Cuda::new(device.clone()))),
        #[cfg(feature = "emulation")]
        Device::Cpu => emulation::current().map(|emulated| Box::new(emulated) as Box<dyn Backend>),
        _ => None,
    }
}

/// A stretch of the device's memory: `Span` of device.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) address: u64,
    /// In elements.
    pub(crate) len: u64,
}

impl Span {
    /// For a parameter that a kernel may be without.
    pub(crate) const NONE: Self = Self { address: 0, len: 0 };
}

/// A struct of spans and numbers that a kernel takes by value.
///
/// # Safety
/// `repr(C)`, field by field the struct of the same name in the `.cu`, without padding bytes that
/// matter and without pointers to host memory.
#[expect(unsafe_code, reason = "the kernel reads the struct's bytes")]
pub(crate) unsafe trait Params: Copy {}

/// The largest parameter struct.
pub(crate) const PARAMS_BYTES_MAX: usize = 512;

/// The bytes of a parameter struct, with room behind them.
#[derive(Clone)]
#[repr(C, align(16))]
struct ParamBlock([u8; PARAMS_BYTES_MAX]);

impl ParamBlock {
    fn of(params: &[u8]) -> Self {
        let mut block = [0; PARAMS_BYTES_MAX];
        block[..params.len()].copy_from_slice(params);
        Self(block)
    }
}

/// One kernel launch.
pub(crate) struct Launch<'a> {
    /// Folder of the op: the module that holds the kernel.
    pub(crate) module: &'static str,
    /// Name of the kernel.
    pub(crate) kernel: String,
    /// Blocks in x, y and z.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: u32,
    /// The bytes of the parameters.
    params: &'a [u8],
}

impl<'a> Launch<'a> {
    /// A launch of `kernel` with these parameters and no shared memory.
    pub(crate) fn new<P: Params>(
        module: &'static str,
        kernel: String,
        grid: [u32; 3],
        threads: u32,
        params: &'a P,
    ) -> Self {
        const { assert!(size_of::<P>() <= PARAMS_BYTES_MAX, "raise PARAMS_BYTES_MAX") }
        // SAFETY: `P` is plain old data, as `Params` asks, and lives as long as the launch.
        #[expect(unsafe_code, reason = "a struct as its bytes")]
        let params = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(params).cast::<u8>(), size_of::<P>())
        };
        Self {
            module,
            kernel,
            grid,
            threads,
            shared_bytes: 0,
            params,
        }
    }

    /// The same with shared memory for each block.
    pub(crate) fn with_shared_bytes(mut self, shared_bytes: usize) -> Self {
        self.shared_bytes = shared_bytes as u32;
        self
    }
}

/// The suffix of the kernels for a dtype.
///
/// # Errors
/// A dtype that no kernel is compiled for.
pub(crate) fn suffix(op: &str, dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        DType::F16 => Ok("f16"),
        other => candle_core::bail!("{op}: no kernel for {other:?}; f32, bf16 and f16 have one"),
    }
}

/// Checks that `count` elements are whole loads of 16 bytes.
///
/// # Errors
/// They are not.
pub(crate) fn wide(op: &str, what: &str, count: usize, dtype: DType) -> Result<()> {
    match (count * dtype.size_in_bytes()).is_multiple_of(16) {
        true => Ok(()),
        false => candle_core::bail!(
            "{op}: {what} of {count} elements of {dtype:?} is no multiple of 16 bytes, as the \
             kernels need"
        ),
    }
}
