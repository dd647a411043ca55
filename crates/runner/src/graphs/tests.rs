use std::cell::Cell;
use std::path::Path;

use portcullis_kernels::{Order, Recording, emulate, record};
use portcullis_models::{LoadOptions, SequenceSpan};

use super::*;

const ORDER: Order = Order::Ascending;

/// Records in the emulation, and does as a card might.
#[derive(Default)]
struct Recorder {
    captures: Cell<usize>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Recording fails.
    Capture,
    /// A graph computes something else than what was recorded.
    Bits,
    /// A graph computes nothing.
    Idle,
    /// The second run of a graph fails, the first being that which it is checked by.
    Launch,
}

struct Recorded {
    launches: Recording,
    result: Tensor,
    out: Tensor,
    runs: Cell<usize>,
}

impl Capture for Recorder {
    type Graph = Recorded;

    fn capture(
        &self,
        work: &mut dyn FnMut() -> Result<Tensor, ModelError>,
        out: &Tensor,
    ) -> Result<Recorded, ModelError> {
        self.captures.set(self.captures.get() + 1);
        let first = work()?;
        out.slice_set(&first, 0, 0)?;
        if self.fault == Some(Fault::Capture) {
            Err(candle_core::Error::msg("not to be recorded"))?;
        }
        let (result, launches) = record(ORDER, work);
        let graph = Recorded {
            launches,
            result: result?,
            out: out.clone(),
            runs: Cell::new(0),
        };
        Ok(graph)
    }

    fn launch(&self, graph: &Recorded) -> Result<(), ModelError> {
        graph.runs.set(graph.runs.get() + 1);
        if self.fault == Some(Fault::Launch) && graph.runs.get() == 2 {
            Err(candle_core::Error::msg("the device failed"))?;
        }
        if self.fault == Some(Fault::Idle) {
            return Ok(());
        }
        graph.launches.replay(ORDER)?;
        graph.out.slice_set(&graph.result, 0, 0)?;
        if self.fault == Some(Fault::Bits) {
            let other = Tensor::full(0.5f32, (1, 1), graph.out.device())?;
            let row = graph.out.narrow(0, 0, 1)?.narrow(1, 3, 1)?;
            let row = (row + other)?.broadcast_as((1, graph.out.dim(1)?))?;
            graph.out.slice_set(&row.contiguous()?, 0, 0)?;
        }
        Ok(())
    }
}

#[test]
fn every_shape_is_recorded_at_start_and_decodes_have_the_eager_bits() {
    let mut twins = Twins::new(Recorder::default());
    assert_eq!(twins.graphs.capture.captures.get(), 2, "one row, and two");
    assert!(twins.step(&[(0, 5), (1, 3)]).is_none(), "a prefill");
    for _ in 0..3 {
        assert!(twins.step(&[(0, 1), (1, 1)]).is_some());
    }
    assert!(twins.step(&[(1, 1)]).is_some(), "another shape");
    assert!(twins.step(&[(1, 1), (0, 1)]).is_some(), "the first again");
    assert!(
        twins.step(&[(1, 1), (0, 1), (2, 1)]).is_none(),
        "too many rows"
    );
    assert!(twins.step(&[(1, 1), (0, 2)]).is_none(), "half a prefill");
    assert_eq!(twins.graphs.capture.captures.get(), 2, "at start alone");
    assert_eq!(twins.graphs.num_checked(), 2);
}

#[test]
fn what_cannot_be_recorded_stays_eager() {
    let mut twins = Twins::faulty(Fault::Capture);
    assert_eq!(twins.graphs.graphs.len(), 0);
    assert_eq!(twins.graphs.capture.captures.get(), 1, "no other is tried");
    twins.step(&[(0, 4)]);
    assert!(twins.step(&[(0, 1)]).is_none());
}

#[test]
fn a_graph_with_other_bits_is_given_up_before_its_first_step() {
    for fault in [Fault::Bits, Fault::Idle] {
        let mut twins = Twins::faulty(fault);
        twins.step(&[(0, 4)]);
        assert_eq!(twins.graphs.graphs.len(), 2);
        assert!(twins.step(&[(0, 1)]).is_none());
        assert_eq!(twins.graphs.num_checked(), 0);
        assert_eq!(
            twins.graphs.graphs.len(),
            1,
            "that of two rows is not known to be wrong"
        );
        assert!(twins.step(&[(0, 1)]).is_none());
    }
}

#[test]
fn a_graph_that_fails_is_given_up() {
    let mut twins = Twins::faulty(Fault::Launch);
    twins.step(&[(0, 4)]);
    assert!(twins.step(&[(0, 1)]).is_some());
    assert!(twins.step(&[(0, 1)]).is_none(), "the launch that fails");
    assert!(twins.step(&[(0, 1)]).is_none(), "no other is tried");
    assert_eq!(twins.graphs.graphs.len(), 1);
}

/// A model that runs by graphs where it can, beside one that does not.
struct Twins {
    decoder: Decoder,
    graphs: DecodeGraphs<Recorder>,
    caches: [KvCache; 2],
    lens: [usize; 3],
}

impl Twins {
    fn new(recorder: Recorder) -> Self {
        let golden = Path::new("../../models/tests/golden/llama2");
        let limits = GraphLimits {
            rows_max: 2,
            context_max: 64,
        };
        emulate(ORDER, || {
            let decoder = Decoder::load(golden, &LoadOptions::default()).unwrap();
            let mut caches = [0; 2].map(|_| decoder.new_cache(3).unwrap());
            let graphs = DecodeGraphs::record(recorder, limits, &decoder, &mut caches[0]);
            Self {
                graphs: graphs.unwrap(),
                caches,
                lens: [0; 3],
                decoder,
            }
        })
    }

    fn faulty(fault: Fault) -> Self {
        Self::new(Recorder {
            fault: Some(fault),
            ..Recorder::default()
        })
    }

    /// Computes so many tokens of some sequences on both; what graphs gave is what the other gave.
    /// What they left to the eager step is then computed so.
    fn step(&mut self, sequences: &[(usize, usize)]) -> Option<Tensor> {
        let batch = self.batch(sequences);
        let [ours, eager] = &mut self.caches;
        emulate(ORDER, || {
            let expected = self.decoder.forward(&batch, eager).unwrap();
            let logits = self.graphs.decode(&self.decoder, &batch, ours).unwrap();
            match &logits {
                Some(logits) => assert_eq!(bits(logits).unwrap(), bits(&expected).unwrap()),
                None => drop(self.decoder.forward(&batch, ours).unwrap()),
            }
            logits
        })
    }

    fn batch(&mut self, sequences: &[(usize, usize)]) -> Batch {
        let mut batch = Batch::default();
        for &(sequence, query_len) in sequences {
            let positions = self.lens[sequence]..self.lens[sequence] + query_len;
            self.lens[sequence] = positions.end;
            batch.sequences.push(SequenceSpan {
                query_start: batch.tokens.len(),
                query_len,
                context_len: positions.end,
                block_table: vec![sequence as u32],
            });
            let token = |position: usize| (position * 5 + sequence) as u32 % 64;
            batch.tokens.extend(positions.clone().map(token));
            batch.positions.extend(positions.map(|p| p as u32));
            batch.sample_rows.push(batch.tokens.len() as u32 - 1);
        }
        batch
    }
}
