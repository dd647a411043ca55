//! Prefill chunks by FlashAttention, where it has a kernel: it reads a tile of K and V once for 64
//! query tokens, the kernels of this folder once for each. Decodes stay with those: FlashAttention
//! neither splits a paged context nor packs the query heads of a group.

use candle_core::{DType, Result, Tensor};

use super::{AttentionParams, PagedAttention};
use crate::BLOCK_TOKENS;
use crate::device::Backend;
use crate::device_batch::PrefillRun;

/// Which of FlashAttention's kernels this build has, as scripts/cuda/env says it:
/// `HEAD_DIMS-TYPES-MASKS`, each a list. All of them where it is not set.
const COMPILED: Option<&str> = option_env!("PORTCULLIS_FLASH_ATTN");

impl PagedAttention<'_> {
    /// Whether any sequence of the batch is to be computed here.
    pub(super) fn is_for_flash(&self, q: &Tensor) -> bool {
        let has_kernel = matches!(q.dtype(), DType::BF16 | DType::F16)
            && matches!(self.heads.head_dim, 64 | 128)
            && is_compiled(COMPILED, self.heads.head_dim, q.dtype(), self.params.window);
        let mut spans = self.batch.spans().iter();
        q.device().is_cuda() && has_kernel && spans.any(|span| span.query_len > 1)
    }

    /// The prefills by FlashAttention, a call a run; the decodes by one launch.
    pub(super) fn launch_with_flash(
        &self,
        backend: &dyn Backend,
        q: &Tensor,
        k_cache: &Tensor,
        v_cache: &Tensor,
    ) -> Result<Tensor> {
        let tables = self.batch.on_device()?;
        if let [run] = tables.prefills.as_slice()
            && run.rows.len() == self.batch.num_tokens()
        {
            return self.prefill(run, q, k_cache, v_cache);
        }
        let out = backend.empty(q.shape().clone(), q.dtype())?;
        for run in &tables.prefills {
            let rows = self.prefill(run, q, k_cache, v_cache)?;
            out.slice_set(&rows, 0, run.rows.start)?;
        }
        self.launch_rows(backend, &tables.decodes, [q, k_cache, v_cache, &out])?;
        Ok(out)
    }

    /// The rows of one run, `[num_rows, num_heads, head_dim]`.
    fn prefill(
        &self,
        run: &PrefillRun,
        q: &Tensor,
        k_cache: &Tensor,
        v_cache: &Tensor,
    ) -> Result<Tensor> {
        let (window_left, window_right) = window(self.params);
        // The stride of the block table's rows is taken from its shape: whole rows only.
        let block_tables = &self.batch.on_device()?.block_tables;
        candle_flash_attn::flash_attn_varlen_paged_windowed(
            &q.narrow(0, run.rows.start, run.rows.len())?,
            // Wanted as [blocks, tokens, heads, head_dim], of which only the last must be dense.
            &k_cache.transpose(1, 2)?,
            &v_cache.transpose(1, 2)?,
            &run.query_starts,
            &run.context_starts,
            &block_tables.narrow(0, run.sequences.start, run.sequences.len())?,
            None,
            run.query_max,
            run.context_max,
            self.params.scale,
            window_left,
            window_right,
            BLOCK_TOKENS,
            None,
        )
    }
}

/// Whether a selection has the kernel; one that was left out would abort the process.
fn is_compiled(
    selection: Option<&str>,
    head_dim: usize,
    dtype: DType,
    window: Option<usize>,
) -> bool {
    let Some(selection) = selection else {
        return true;
    };
    // A window takes the kernel without the causal shortcut.
    let mask = if window.is_some() { "full" } else { "causal" };
    let wanted = [&head_dim.to_string(), dtype.as_str(), mask];
    let lists = selection.split('-').zip(wanted);
    lists
        .into_iter()
        .all(|(list, wanted)| list.split(',').any(|item| item == wanted))
}

/// Keys that a query sees before and after its own position. A left bound beyond every context is
/// dropped by FlashAttention itself, whose causal kernel needs that there is none.
fn window(params: AttentionParams) -> (Option<usize>, Option<usize>) {
    let others = params.window.map(|window| window.saturating_sub(1));
    (others, Some(0))
}

#[cfg(test)]
mod tests {
    use candle_core::DType::{BF16, F16};

    use super::is_compiled;

    #[test]
    fn what_a_build_left_out_is_not_called() {
        let usual = Some("64,128-bf16-causal,full");
        assert!(is_compiled(usual, 64, BF16, Some(7)));
        assert!(!is_compiled(usual, 128, F16, None));
        let least = Some("128-bf16-causal");
        assert!(is_compiled(least, 128, BF16, None));
        assert!(!is_compiled(least, 64, BF16, None));
        assert!(!is_compiled(least, 128, BF16, Some(7)));
        assert!(is_compiled(None, 64, F16, None));
    }
}
