//! Kernels on an NVIDIA card, through Candle's device.

use std::cell::Cell;

use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute_enum;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, CudaStorageSlice};
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor,
    bail,
};
use half::{bf16, f16};

use super::{Backend, Launch, ParamBlock, Span};

/// The compiled modules: name of the op, PTX.
const MODULES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// Shared memory that every kernel may have; more must be asked for.
const SHARED_BYTES_PLAIN: u32 = 48 * 1024;

pub(crate) struct Cuda(CudaDevice);

impl Cuda {
    pub(crate) fn new(device: CudaDevice) -> Self {
        Self(device)
    }

    fn alloc<T: CudaDType + DeviceRepr>(&self, count: usize) -> Result<CudaStorage> {
        // SAFETY: what is allocated is written by the launch that it is made for, before any
        // kernel reads it: both are on this device's one stream.
        #[expect(unsafe_code, reason = "memory that is not set before it is used")]
        let slice = unsafe { self.0.alloc::<T>(count)? };
        Ok(CudaStorage::wrap_cuda_slice(slice, self.0.clone()))
    }
}

impl Backend for Cuda {
    fn empty(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        let count = shape.elem_count();
        let storage = match dtype {
            DType::F32 => self.alloc::<f32>(count)?,
            DType::BF16 => self.alloc::<bf16>(count)?,
            DType::F16 => self.alloc::<f16>(count)?,
            DType::U32 => self.alloc::<u32>(count)?,
            DType::U8 => self.alloc::<u8>(count)?,
            DType::F64 => self.alloc::<f64>(count)?,
            other => bail!("no kernel writes {other:?}"),
        };
        let op = candle_core::op::BackpropOp::none();
        Ok(Tensor::from_storage(
            Storage::Cuda(storage),
            shape,
            op,
            false,
        ))
    }

    fn span(&self, tensor: &Tensor) -> Result<Span> {
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => span(storage, layout),
            _ => bail!(
                "a kernel of the card was given a tensor on {:?}",
                tensor.device()
            ),
        }
    }

    fn span_mut(&self, tensor: &Tensor) -> Result<Span> {
        let place = Place(Cell::new(None));
        tensor.inplace_op1(&place)?;
        match place.0.get() {
            Some(span) => Ok(span),
            None => bail!(
                "a kernel of the card was given a tensor on {:?}",
                tensor.device()
            ),
        }
    }

    #[expect(unsafe_code, reason = "runs a kernel")]
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let Some((_, ptx)) = MODULES.iter().find(|(name, _)| *name == launch.module) else {
            bail!("no module {} was compiled", launch.module);
        };
        let function = self
            .0
            .get_or_load_custom_func(&launch.kernel, launch.module, ptx)?;
        if launch.shared_bytes > SHARED_BYTES_PLAIN {
            let attribute =
                CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function
                .set_attribute(attribute, launch.shared_bytes as i32)
                .map_err(candle_core::Error::wrap)?;
        }
        let config = LaunchConfig {
            grid_dim: launch.grid.into(),
            block_dim: (launch.threads, 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        let params = ParamBlock::of(launch.params);
        let mut builder = function.builder();
        builder.arg(&params);
        // SAFETY: the caller's promise about the spans; the block is longer than the parameters,
        // of which the driver reads as many bytes as the kernel was compiled with.
        let launched = unsafe { builder.launch(config) };
        launched.map(drop).map_err(|error| {
            let message = format!("kernel {} could not be launched: {error}", launch.kernel);
            candle_core::Error::wrap(error).context(message)
        })
    }
}

// SAFETY: plain bytes.
#[expect(unsafe_code, reason = "a kernel's parameter")]
unsafe impl DeviceRepr for ParamBlock {}

/// Finds where a tensor lies by way of the exclusive access that an in-place op has.
struct Place(Cell<Option<Span>>);

impl InplaceOp1 for Place {
    fn name(&self) -> &'static str {
        "place"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("a kernel of the card was given a tensor in the host's memory")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        self.0.set(Some(span(storage, layout)?));
        Ok(())
    }
}

fn span(storage: &CudaStorage, layout: &Layout) -> Result<Span> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("kernels take contiguous tensors");
    };
    let stream = storage.device.cuda_stream();
    let address = match &storage.slice {
        CudaStorageSlice::F32(slice) => address(slice, start, &stream),
        CudaStorageSlice::BF16(slice) => address(slice, start, &stream),
        CudaStorageSlice::F16(slice) => address(slice, start, &stream),
        CudaStorageSlice::U32(slice) => address(slice, start, &stream),
        CudaStorageSlice::U8(slice) => address(slice, start, &stream),
        CudaStorageSlice::F64(slice) => address(slice, start, &stream),
        _ => bail!("no kernel takes this dtype"),
    };
    Ok(Span {
        address,
        len: (end - start) as u64,
    })
}

/// All work is on the device's one stream, which is the order that keeps the memory alive.
fn address<T>(slice: &CudaSlice<T>, start: usize, stream: &CudaStream) -> u64 {
    let (base, _on_one_stream) = slice.device_ptr(stream);
    base + (start * size_of::<T>()) as u64
}
