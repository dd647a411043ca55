//! The device that a model runs on, and its memory.

use candle_core::Device;
use thiserror::Error;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The host's cores and memory.
    Cpu,
    /// An NVIDIA card, by its number on this machine.
    Cuda(usize),
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Why a device cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// This binary has no kernels for cards.
    #[error("this build knows no CUDA: build it with --features cuda, or use --device cpu")]
    NotBuilt,
    /// The card is not there, or its driver does not take these kernels.
    #[error(
        "CUDA device {ordinal} cannot be used; see nvidia-smi for the cards and their driver, which \
         must know CUDA 13.0, or use --device cpu"
    )]
    NoCard {
        /// Its number.
        ordinal: usize,
        /// What the driver says.
        source: candle_core::Error,
    },
}

/// Opens a device. A card gets one stream of its own, on which all its work is done in order.
///
/// # Errors
/// It is not there, or this build does not know it.
pub fn open(choice: DeviceChoice) -> Result<Device, DeviceError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        #[cfg(feature = "cuda")]
        DeviceChoice::Cuda(ordinal) => {
            cuda::open(ordinal).map_err(|source| DeviceError::NoCard { ordinal, source })
        }
        #[cfg(not(feature = "cuda"))]
        DeviceChoice::Cuda(_) => Err(DeviceError::NotBuilt),
    }
}

/// Bytes of a card's memory that are free, pools of this process aside; `None` for the CPU.
///
/// # Errors
/// The driver does not say.
pub fn free_bytes(device: &Device) -> candle_core::Result<Option<u64>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::free_bytes(device).map(Some),
        _ => Ok(None),
    }
}

/// Whether an operation failed for want of a card's memory.
pub fn is_out_of_memory(error: &impl ToString) -> bool {
    // The driver's and cuBLAS's names of it; Candle passes them on as text.
    let message = error.to_string();
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"]
        .iter()
        .any(|name| message.contains(name))
}

#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::cuda_backend::cudarc::driver::{result, sys};
    use candle_core::{CudaDevice, Device, Error, Result};

    pub(super) fn open(ordinal: usize) -> Result<Device> {
        let device = CudaDevice::new_with_stream(ordinal)?;
        // SAFETY: this stream is the only one that the tensors of this device are used on, so
        // there is nothing between streams to be kept in order.
        #[expect(unsafe_code, reason = "turns off what one stream does not need")]
        unsafe {
            device.disable_event_tracking();
        }
        keep_freed_memory(&device)?;
        Ok(Device::Cuda(device))
    }

    /// Lets the driver's pool keep what is freed, so that a step takes its memory from what the
    /// steps before have left: the pool is the arena, filled by the first step of full size.
    fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
        let context = device.cuda_stream().context().clone();
        context.bind_to_thread().map_err(Error::wrap)?;
        let mut pool = std::ptr::null_mut();
        let mut threshold = u64::MAX;
        let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the device lives as long as its context, the pool as long as the device, and the
        // attribute is a number of 64 bits.
        #[expect(unsafe_code, reason = "calls the driver")]
        let set = unsafe {
            sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device())
                .result()
                .and_then(|()| {
                    sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast())
                        .result()
                })
        };
        set.map_err(Error::wrap)
    }

    pub(super) fn free_bytes(device: &CudaDevice) -> Result<u64> {
        device
            .cuda_stream()
            .context()
            .bind_to_thread()
            .map_err(Error::wrap)?;
        let (free, _total) = result::mem_get_info().map_err(Error::wrap)?;
        Ok(free as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::is_out_of_memory;

    #[test]
    fn want_of_memory_is_told_from_other_failures() {
        let driver = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        assert!(is_out_of_memory(&driver));
        assert!(is_out_of_memory(&"CublasError(CUBLAS_STATUS_ALLOC_FAILED)"));
        assert!(!is_out_of_memory(
            &"DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)"
        ));
    }
}
