//! A model runner without a model: the script says which tokens may follow a context.
//!
//! Its KV cache is real in the one respect that matters to scheduler and engine: it keeps the
//! token of every slot, and a context is read back through the block table. A wrong block, a
//! missed copy or a write into a shared block shows as a wrong context, and so as wrong text.

use std::collections::VecDeque;
use std::time::Duration;

use portcullis_scheduler::{BLOCK_TOKENS, BlockId, Row, SchedulerOutput};
use portcullis_types::{PromptScore, Sample, TokenId, TokenLogprob};

use crate::runner::{Draw, DrawError, ModelRunner, RunnerError, Score, StepOutput, Ticket};

/// What may follow a context (prompt and completion so far): tokens with their probabilities.
/// An empty answer stands for logits that are not finite.
pub type Script = Box<dyn FnMut(&[TokenId]) -> Vec<(TokenId, f32)> + Send>;

/// A [`ModelRunner`] that follows a [`Script`].
pub struct ScriptedRunner {
    script: Script,
    slots: Vec<TokenId>,
    finished: VecDeque<Result<StepOutput, RunnerError>>,
    tickets: u64,
    step_time: Duration,
    faulty: Box<dyn FnMut(u64) -> bool + Send>,
    max_step_tokens: usize,
}

impl ScriptedRunner {
    /// A runner with a cache of `num_blocks` blocks.
    pub fn new(
        num_blocks: u32,
        script: impl FnMut(&[TokenId]) -> Vec<(TokenId, f32)> + Send + 'static,
    ) -> Self {
        Self {
            script: Box::new(script),
            slots: vec![TokenId::MAX; num_blocks as usize * BLOCK_TOKENS],
            finished: VecDeque::new(),
            tickets: 0,
            step_time: Duration::ZERO,
            faulty: Box::new(|_| false),
            max_step_tokens: usize::MAX,
        }
    }

    /// Lets every step take this long.
    #[must_use]
    pub fn with_step_time(mut self, step_time: Duration) -> Self {
        self.step_time = step_time;
        self
    }

    /// Lets steps fail as a whole: those whose number `faulty` answers with true.
    #[must_use]
    pub fn with_faults(mut self, faulty: impl FnMut(u64) -> bool + Send + 'static) -> Self {
        self.faulty = Box::new(faulty);
        self
    }

    /// Lets memory run out in steps of more tokens; such a step leaves its slots half written.
    #[must_use]
    pub fn with_memory_for(mut self, max_step_tokens: usize) -> Self {
        self.max_step_tokens = max_step_tokens;
        self
    }

    fn attempt(
        &mut self,
        plan: &SchedulerOutput,
        draws: Vec<Draw>,
        scores: &[Score],
    ) -> Result<StepOutput, RunnerError> {
        let message = format!("scripted, in step {}", self.tickets);
        if plan.rows.iter().map(|row| row.tokens.len()).sum::<usize>() > self.max_step_tokens {
            self.spoil(plan);
            return Err(RunnerError::OutOfMemory { message });
        }
        if (self.faulty)(self.tickets) {
            self.spoil(plan);
            return Err(RunnerError::Failed { message });
        }
        Ok(self.run(plan, draws, scores))
    }

    /// Writes into every other slot of the plan, and makes no copy.
    fn spoil(&mut self, plan: &SchedulerOutput) {
        for row in &plan.rows {
            for position in (row.start..row.start + row.tokens.len()).step_by(2) {
                let block = row.block_table[position / BLOCK_TOKENS];
                self.slots[slot(block, position % BLOCK_TOKENS)] = TokenId::MAX;
            }
        }
    }

    fn run(&mut self, plan: &SchedulerOutput, draws: Vec<Draw>, scores: &[Score]) -> StepOutput {
        for &(from, to) in &plan.block_copies {
            let from = slot(from, 0);
            self.slots
                .copy_within(from..from + BLOCK_TOKENS, slot(to, 0));
        }
        let mut draws = draws.into_iter();
        let (mut samples, mut scored) = (Vec::new(), Vec::new());
        for (index, row) in plan.rows.iter().enumerate() {
            let context = self.compute(row);
            for score in scores.iter().filter(|score| score.row == index) {
                let before = &context[..=row.start + score.offset];
                scored.push((index, self.score(before, score)));
            }
            if row.samples {
                let draw = draws
                    .next()
                    .expect("the engine gives one draw for each sampling row");
                samples.push(sample(&(self.script)(&context), &draw));
            }
        }
        StepOutput {
            samples,
            scores: scored,
        }
    }

    /// A token that the script does not know has no probability.
    fn score(&mut self, before: &[TokenId], score: &Score) -> Result<PromptScore, DrawError> {
        let mut distribution = (self.script)(before);
        if distribution.is_empty() {
            return Err(DrawError::NotFinite);
        }
        distribution.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let came = distribution
            .iter()
            .find(|(token, _)| *token == score.target);
        let top = distribution.iter().take(score.top.into());
        Ok(PromptScore {
            token: score.target,
            logprob: Some(came.map_or(f32::NEG_INFINITY, |(_, p)| p.ln())),
            top: top
                .map(|&(token, p)| TokenLogprob {
                    token,
                    logprob: p.ln(),
                })
                .collect(),
        })
    }

    /// Writes the row's tokens into the cache and reads its whole context back.
    fn compute(&mut self, row: &Row) -> Vec<TokenId> {
        let place = |position: usize| {
            slot(
                row.block_table[position / BLOCK_TOKENS],
                position % BLOCK_TOKENS,
            )
        };
        for (offset, &token) in row.tokens.iter().enumerate() {
            self.slots[place(row.start + offset)] = token;
        }
        (0..row.start + row.tokens.len())
            .map(|position| self.slots[place(position)])
            .collect()
    }
}

impl ModelRunner for ScriptedRunner {
    fn submit(&mut self, plan: &SchedulerOutput, draws: Vec<Draw>, scores: Vec<Score>) -> Ticket {
        self.tickets += 1;
        let result = self.attempt(plan, draws, &scores);
        self.finished.push_back(result);
        Ticket(self.tickets)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<StepOutput, RunnerError> {
        debug_assert_eq!(ticket.0, self.tickets, "steps are collected in order");
        std::thread::sleep(self.step_time);
        self.finished
            .pop_front()
            .expect("a ticket is collected once, after its submit")
    }
}

fn slot(block: BlockId, offset: usize) -> usize {
    block.0 as usize * BLOCK_TOKENS + offset
}

/// Draws from a small distribution as a sampler would: mask, renormalise, draw by (seed,
/// position, attempt).
pub fn sample(distribution: &[(TokenId, f32)], draw: &Draw) -> Result<Sample, DrawError> {
    if distribution.is_empty() {
        return Err(DrawError::NotFinite);
    }
    let weights = weights(distribution, draw)?;
    let total: f32 = weights.iter().sum();
    let index = if draw.params.is_greedy() {
        first_max(&weights)
    } else {
        inverse_cdf(
            &weights,
            total * uniform(draw.params.seed, draw.position, draw.attempt),
        )
    };
    let (token, probability) = distribution[index];
    let entropy = distribution
        .iter()
        .map(|&(_, p)| if p > 0.0 { -p * p.ln() } else { 0.0 })
        .sum();
    let logprob = probability.ln();
    let mut top: Vec<_> = distribution
        .iter()
        .map(|&(token, p)| TokenLogprob {
            token,
            logprob: p.ln(),
        })
        .collect();
    top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
    top.truncate(draw.params.top_logprobs.into());
    let mass = |watched: &[TokenId]| {
        let of = distribution.iter().filter(|(t, _)| watched.contains(t));
        of.map(|(_, p)| p).sum()
    };
    Ok(Sample {
        token,
        logprob,
        drawn_logprob: logprob,
        entropy,
        top,
        masses: draw.watch.iter().map(|set| mass(set)).collect(),
    })
}

/// What is left of each token. Where nothing is but what was refused, that is drawn again, for the
/// gate to say what becomes of it.
fn weights(distribution: &[(TokenId, f32)], draw: &Draw) -> Result<Vec<f32>, DrawError> {
    let mask = &draw.mask;
    let may_be = |token| {
        let allowed = mask.allowed.as_ref();
        allowed.is_none_or(|allowed| allowed.contains(token)) && !mask.banned.contains(&token)
    };
    let allowed = |&(token, p): &(TokenId, f32)| if may_be(token) { p } else { 0.0 };
    let weighed = |entry: &(TokenId, f32)| allowed(entry) * factor(draw, entry.0);
    let some_left = |weights: &Vec<f32>| weights.iter().any(|weight| *weight > 0.0);
    let all = || distribution.iter();
    Some(all().map(weighed).collect())
        .filter(some_left)
        .or_else(|| Some(all().map(allowed).collect()).filter(some_left))
        .ok_or(DrawError::NothingLeft)
}

fn factor(draw: &Draw, token: TokenId) -> f32 {
    let weight = draw.mask.weights.iter().find(|(t, _)| *t == token);
    weight.map_or(1.0, |(_, log_weight)| log_weight.exp())
}

fn first_max(weights: &[f32]) -> usize {
    (1..weights.len()).fold(
        0,
        |best, i| if weights[i] > weights[best] { i } else { best },
    )
}

fn inverse_cdf(weights: &[f32], mut target: f32) -> usize {
    for (index, weight) in weights.iter().enumerate() {
        if target < *weight {
            return index;
        }
        target -= weight;
    }
    // Rounding may leave a crumb beyond the last weight that counts.
    weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
}

/// A number in [0, 1) that depends on its arguments alone (SplitMix64's finaliser, chained).
fn uniform(seed: u64, position: u64, attempt: u32) -> f32 {
    let mut state = seed;
    for word in [position, u64::from(attempt)] {
        state = mix(state ^ mix(word.wrapping_add(0x9E37_79B9_7F4A_7C15)));
    }
    (state >> 40) as f32 / (1u32 << 24) as f32
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
