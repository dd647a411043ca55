//! Kernels on the CPU, under the emulation of `cuda/emulation.h`.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_void};

use candle_core::{
    CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail,
};
use half::{bf16, f16};

use super::{Backend, Launch, Span, recording};

/// In which order the threads and blocks of a launch take their turns. A result that depends on
/// it lacks a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By their index.
    Ascending,
    /// From the last to the first.
    Descending,
    /// By strides.
    Mixed,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ascending, Self::Descending, Self::Mixed];
}

thread_local! {
    static ORDER: Cell<Option<Order>> = const { Cell::new(None) };
    static LAUNCHES: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
}

/// Runs `work` with the kernels in place of the plain loops: every op on CPU tensors that this
/// thread calls meanwhile goes through its device code.
pub fn emulate<R>(order: Order, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Order>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ORDER.set(self.0);
        }
    }
    let _restore = Restore(ORDER.replace(Some(order)));
    work()
}

/// The ops whose kernels `work` launches in the emulation on this thread, one entry a launch, in order.
/// What a card computes with other libraries is not among them: products of more than eight rows, and
/// FlashAttention's prefills.
pub fn launches_of<R>(work: impl FnOnce() -> R) -> (R, Vec<&'static str>) {
    let before = LAUNCHES.replace(Some(Vec::new()));
    let result = work();
    let launches = LAUNCHES.replace(before).unwrap_or_default();
    (result, launches)
}

/// The emulation, if this thread is within [`emulate`].
pub(crate) fn current() -> Option<Emulated> {
    ORDER.get().map(Emulated)
}

pub(crate) struct Emulated(pub(super) Order);

impl Backend for Emulated {
    fn empty(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        let tensor = Tensor::zeros(shape, dtype, &Device::Cpu)?;
        tensor.inplace_op1(&Undefine)?;
        recording::made(&tensor);
        Ok(tensor)
    }

    fn span(&self, tensor: &Tensor) -> Result<Span> {
        recording::touched(tensor);
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => span(storage, layout),
            _ => bail!(
                "the emulation works on CPU tensors, not on {:?}",
                tensor.device()
            ),
        }
    }

    fn span_mut(&self, tensor: &Tensor) -> Result<Span> {
        recording::touched(tensor);
        let place = Place(Cell::new(None));
        tensor.inplace_op1(&place)?;
        match place.0.get() {
            Some(span) => Ok(span),
            None => bail!(
                "the emulation works on CPU tensors, not on {:?}",
                tensor.device()
            ),
        }
    }

    #[expect(unsafe_code, reason = "runs code of another language")]
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        LAUNCHES.with_borrow_mut(|launches| {
            if let Some(launches) = launches {
                launches.push(launch.module);
            }
        });
        recording::launched(launch);
        let kernel = CString::new(launch.kernel.as_str()).map_err(candle_core::Error::wrap)?;
        let mut message = [0u8; 512];
        // SAFETY: the arrays have the lengths that the function reads, and the message the length
        // given; the parameters are the caller's promise.
        let status = unsafe {
            portcullis_emulate(
                kernel.as_ptr(),
                launch.grid.as_ptr(),
                [launch.threads, 1, 1].as_ptr(),
                launch.shared_bytes,
                launch.params.as_ptr().cast(),
                launch.params.len(),
                self.0 as u32,
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        if status == 0 {
            return Ok(());
        }
        match CStr::from_bytes_until_nul(&message) {
            Ok(message) => bail!("{}, emulated: {}", launch.module, message.to_string_lossy()),
            Err(_) => bail!("{}, emulated: {} failed", launch.module, launch.kernel),
        }
    }
}

#[expect(unsafe_code, reason = "declares a function of another language")]
unsafe extern "C" {
    /// Of `cuda/emulation.cpp`.
    fn portcullis_emulate(
        name: *const c_char,
        grid: *const u32,
        block: *const u32,
        shared_bytes: u32,
        parameters: *const c_void,
        parameter_bytes: usize,
        order: u32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> c_int;
}

/// Sets every bit: NaN in the floating-point types, so that what is not written shows.
pub(super) struct Undefine;

impl InplaceOp1 for Undefine {
    fn name(&self) -> &'static str {
        "undefine"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        match storage {
            CpuStorage::F32(values) => values.fill(f32::from_bits(u32::MAX)),
            CpuStorage::BF16(values) => values.fill(bf16::from_bits(u16::MAX)),
            CpuStorage::F16(values) => values.fill(f16::from_bits(u16::MAX)),
            CpuStorage::U32(values) => values.fill(u32::MAX),
            CpuStorage::U8(values) => values.fill(u8::MAX),
            CpuStorage::F64(values) => values.fill(f64::from_bits(u64::MAX)),
            _ => bail!("no kernel writes this dtype"),
        }
        Ok(())
    }
}

/// Finds where a tensor lies by way of the exclusive access that an in-place op has.
struct Place(Cell<Option<Span>>);

impl InplaceOp1 for Place {
    fn name(&self) -> &'static str {
        "place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.0.set(Some(span(storage, layout)?));
        Ok(())
    }
}

fn span(storage: &CpuStorage, layout: &Layout) -> Result<Span> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("kernels take contiguous tensors");
    };
    let address = match storage {
        CpuStorage::F32(values) => values[start..].as_ptr().addr(),
        CpuStorage::BF16(values) => values[start..].as_ptr().addr(),
        CpuStorage::F16(values) => values[start..].as_ptr().addr(),
        CpuStorage::U32(values) => values[start..].as_ptr().addr(),
        CpuStorage::U8(values) => values[start..].as_ptr().addr(),
        CpuStorage::F64(values) => values[start..].as_ptr().addr(),
        _ => bail!("no kernel takes this dtype"),
    };
    Ok(Span {
        address: address as u64,
        len: (end - start) as u64,
    })
}
