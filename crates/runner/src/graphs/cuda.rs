//! Capture on an NVIDIA card. Compiled, and not run on any yet.

use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{CudaDevice, Device, Error, Tensor};
use portcullis_models::ModelError;

use super::Capture;

/// Captures what is launched on the device's one stream.
pub(crate) struct CudaCapture(CudaDevice);

impl CudaCapture {
    /// `None` for the CPU.
    pub(crate) fn of(device: &Device) -> Option<Self> {
        match device {
            Device::Cuda(device) => Some(Self(device.clone())),
            _ => None,
        }
    }

    /// Records `work`, all of whose memory is taken and given back within the recording but for
    /// `out`.
    fn record(
        &self,
        work: &mut dyn FnMut() -> Result<Tensor, ModelError>,
        out: &Tensor,
    ) -> Result<CudaGraph, ModelError> {
        let stream = self.0.cuda_stream();
        // Relaxed: what Candle, cuBLAS and the driver's pool do beside the stream may go on.
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)
            .map_err(Error::wrap)?;
        let worked = work().and_then(|result| Ok(out.slice_set(&result, 0, 0)?));
        // Whether or not it worked, else the stream takes nothing any more.
        let ended = stream.end_capture(
            sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH,
        );
        // Memory that was taken in a recording that failed cannot be given back. The context would
        // tell that to whoever asks next; the failure itself is told below.
        if (worked.is_err() || ended.is_err())
            && let Err(error) = stream.context().check_err()
        {
            tracing::debug!("left behind by a recording that failed: {error}");
        }
        worked?;
        match ended.map_err(Error::wrap)? {
            Some(graph) => Ok(graph),
            None => Err(Error::msg("the driver recorded nothing"))?,
        }
    }
}

impl Capture for CudaCapture {
    type Graph = CudaGraph;

    fn capture(
        &self,
        work: &mut dyn FnMut() -> Result<Tensor, ModelError>,
        out: &Tensor,
    ) -> Result<CudaGraph, ModelError> {
        // Candle uploads the dims of operands that are not contiguous: the first run brings them to
        // where the recorded one finds them. They are never given back, so nothing else runs under
        // it.
        let _uploads = self.0.enable_cuda_graph_htod_cache();
        let first = work()?;
        out.slice_set(&first, 0, 0)?;
        out.device().synchronize()?;
        let graph = self.record(work, out)?;
        // So that the first run does not pay for it.
        graph.upload().map_err(Error::wrap)?;
        Ok(graph)
    }

    fn launch(&self, graph: &CudaGraph) -> Result<(), ModelError> {
        Ok(graph.launch().map_err(Error::wrap)?)
    }
}
