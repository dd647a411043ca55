//! A world around the scheduler: a simulated KV memory and a mirror of what each sequence is.
//!
//! The memory stores, for each slot of each block, a hash of the tenant and of all tokens up to
//! the one that was computed into it: exactly what the keys and values of that token depend on,
//! and who may see them. Every plan is applied to it, and after every operation each sequence must
//! find its own prefix in its blocks. Sharing, rollback, preemption or caching gone wrong shows as
//! a slot that holds something else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portcullis_scheduler::{
    AddError, Advance, BLOCK_TOKENS, BlockId, ForkError, NewSequence, Row, Scheduler,
    SchedulerConfig, SchedulerOutput,
};
use portcullis_types::{Priority, SequenceId, Tenant, TokenId};

pub(crate) const ROOMY: SchedulerConfig = SchedulerConfig {
    num_blocks: 64,
    max_batched_tokens: 256,
    max_num_seqs: 8,
    max_model_len: 512,
    ageing_steps: 100,
};

/// Kept by the tests themselves, so that the scheduler is held against something.
pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    config: SchedulerConfig,
    memory: Vec<[u64; BLOCK_TOKENS]>,
    mirrors: BTreeMap<SequenceId, Mirror>,
    in_flight: VecDeque<Row>,
    next_id: u64,
    pub(crate) seen: Seen,
}

/// How often the rarer things happened, so that a test can tell whether it saw them at all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) copies: usize,
    pub(crate) preemptions: usize,
    pub(crate) stale_rows: usize,
    pub(crate) ended_by_length: usize,
}

/// What a sequence must be, by the words of the public face alone.
struct Mirror {
    tenant: u8,
    tokens: Vec<TokenId>,
    /// Of each position, what its slot must hold.
    prefix_hashes: Vec<u64>,
    max_len: usize,
    /// Makes the tokens after a rollback differ from those before.
    attempt: u64,
    held: bool,
    /// The row in flight still counts.
    awaits_row: bool,
}

impl Mirror {
    fn new(tenant: u8, tokens: &[TokenId], max_len: usize) -> Self {
        let mut mirror = Self {
            tenant,
            tokens: Vec::new(),
            prefix_hashes: Vec::new(),
            max_len,
            attempt: 0,
            held: false,
            awaits_row: false,
        };
        tokens.iter().for_each(|&token| mirror.push(token));
        mirror
    }

    fn push(&mut self, token: TokenId) {
        let before = self.prefix_hashes.last().copied();
        let before = before.unwrap_or_else(|| mix(0, u64::from(self.tenant)));
        self.prefix_hashes.push(mix(before, u64::from(token)));
        self.tokens.push(token);
    }

    fn truncate(&mut self, num_tokens: usize) {
        self.tokens.truncate(num_tokens);
        self.prefix_hashes.truncate(num_tokens);
    }

    /// What the model draws next: few different tokens, so that sequences often meet again.
    fn draw(&self) -> TokenId {
        let last = self.prefix_hashes.last().expect("never empty");
        (mix(*last, self.attempt) % 3) as TokenId
    }
}

fn mix(state: u64, value: u64) -> u64 {
    let mixed = (state ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ (mixed >> 32)
}

impl World {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            config,
            memory: vec![[0; BLOCK_TOKENS]; config.num_blocks as usize],
            mirrors: BTreeMap::new(),
            in_flight: VecDeque::new(),
            next_id: 0,
            seen: Seen::default(),
        }
    }

    pub(crate) fn try_add(
        &mut self,
        tokens: Vec<TokenId>,
        priority: Priority,
        tenant: u8,
        max_len: usize,
    ) -> Result<SequenceId, AddError> {
        let id = self.take_id();
        let mirror = Mirror::new(tenant, &tokens, max_len);
        self.scheduler.add(NewSequence {
            id,
            tokens,
            priority,
            tenant: Tenant([tenant; 32]),
            max_len,
        })?;
        self.mirrors.insert(id, mirror);
        self.check();
        Ok(id)
    }

    /// A standard sequence of tenant 0.
    pub(crate) fn add(&mut self, tokens: Vec<TokenId>, max_len: usize) -> SequenceId {
        self.try_add(tokens, Priority::Standard, 0, max_len)
            .expect("it can run")
    }

    pub(crate) fn add_as(
        &mut self,
        priority: Priority,
        num_tokens: usize,
        max_len: usize,
    ) -> SequenceId {
        let tokens = distinct_prompt(self.next_id, num_tokens);
        self.try_add(tokens, priority, 0, max_len)
            .expect("it can run")
    }

    fn take_id(&mut self) -> SequenceId {
        self.next_id += 1;
        SequenceId(self.next_id)
    }

    /// Plans a step, checks it, and lets it happen to the memory.
    pub(crate) fn schedule(&mut self) -> SchedulerOutput {
        let output = self.scheduler.schedule();
        for id in &output.preempted {
            self.mirrors.get_mut(id).expect("it lives").awaits_row = false;
        }
        self.seen.copies += output.block_copies.len();
        self.seen.preemptions += output.preempted.len();
        self.check_limits(&output);
        self.check_rows(&output);
        self.copy_blocks(&output.block_copies);
        self.check_reads(&output.rows);
        self.write(&output.rows);
        self.check_reads(&output.rows);
        self.in_flight.extend(output.rows.iter().cloned());
        self.check();
        output
    }

    /// Brings back the results of all rows in flight.
    pub(crate) fn collect(&mut self) {
        while let Some(row) = self.in_flight.pop_front() {
            self.advance(&row);
        }
    }

    /// One step from end to end.
    pub(crate) fn step(&mut self) -> SchedulerOutput {
        let output = self.schedule();
        self.collect();
        output
    }

    pub(crate) fn advance(&mut self, row: &Row) -> Advance {
        let mirror = self.mirrors.get_mut(&row.sequence);
        let awaited = mirror.filter(|mirror| {
            let epoch = self
                .scheduler
                .sequence(row.sequence)
                .expect("it lives")
                .epoch();
            mirror.awaits_row && epoch == row.epoch
        });
        let drawn = awaited.as_ref().map_or(0, |mirror| mirror.draw());
        let expected = if awaited.is_some() {
            Advance::Applied
        } else {
            Advance::Stale
        };
        if let Some(mirror) = awaited {
            mirror.awaits_row = false;
            if row.samples {
                mirror.push(drawn);
                let full = mirror.tokens.len() == mirror.max_len;
                mirror.held |= full;
                self.seen.ended_by_length += usize::from(full);
            }
        }
        let result = self.scheduler.advance(row, row.samples.then_some(drawn));
        assert_eq!(result, expected, "{row:?}");
        self.seen.stale_rows += usize::from(result == Advance::Stale);
        self.check();
        result
    }

    pub(crate) fn truncate(&mut self, id: SequenceId, num_tokens: usize) {
        let known = self.scheduler.truncate(id, num_tokens);
        let mirror = self.mirrors.get_mut(&id);
        assert_eq!(known, mirror.is_some());
        if let Some(mirror) = mirror {
            mirror.truncate(num_tokens);
            mirror.attempt += 1;
            mirror.awaits_row = false;
            mirror.held = mirror.tokens.len() == mirror.max_len;
        }
        self.check();
    }

    pub(crate) fn hold(&mut self, id: SequenceId) {
        let known = self.scheduler.hold(id);
        let mirror = self.mirrors.get_mut(&id);
        assert_eq!(known, mirror.is_some());
        if let Some(mirror) = mirror {
            mirror.held = true;
            mirror.awaits_row = false;
        }
        self.check();
    }

    pub(crate) fn remove(&mut self, id: SequenceId) {
        let known = self.scheduler.remove(id);
        assert_eq!(known, self.mirrors.remove(&id).is_some());
        self.check();
    }

    pub(crate) fn fork(
        &mut self,
        parent: SequenceId,
        num_tokens: usize,
        max_len: usize,
    ) -> Result<SequenceId, ForkError> {
        let child = self.take_id();
        self.scheduler.fork(parent, child, num_tokens, max_len)?;
        let source = &self.mirrors[&parent];
        let mut mirror = Mirror::new(source.tenant, &source.tokens[..num_tokens], max_len);
        mirror.attempt = child.0;
        self.mirrors.insert(child, mirror);
        self.check();
        Ok(child)
    }

    pub(crate) fn live(&self) -> Vec<SequenceId> {
        self.mirrors.keys().copied().collect()
    }

    pub(crate) fn is_live(&self, id: SequenceId) -> bool {
        self.mirrors.contains_key(&id)
    }

    pub(crate) fn tokens(&self, id: SequenceId) -> &[TokenId] {
        &self.mirrors[&id].tokens
    }

    pub(crate) fn num_computed(&self, id: SequenceId) -> usize {
        self.scheduler
            .sequence(id)
            .expect("it lives")
            .num_computed()
    }

    /// Removes what is held, as an engine does whose gate has no objection.
    pub(crate) fn remove_held(&mut self) {
        for id in self.live() {
            if self.mirrors[&id].held {
                self.remove(id);
            }
        }
    }

    /// Steps until every sequence has ended; everything must be free then.
    pub(crate) fn drain(&mut self, steps_max: usize) {
        self.collect();
        for _ in 0..steps_max {
            self.remove_held();
            if self.mirrors.is_empty() {
                break;
            }
            self.step();
        }
        assert!(self.mirrors.is_empty(), "still there: {:?}", self.live());
        assert!(self.scheduler.is_idle());
        assert_eq!(self.scheduler.stats().blocks_used, 0);
    }

    fn check_limits(&self, output: &SchedulerOutput) {
        assert!(output.num_tokens() <= self.config.max_batched_tokens);
        assert!(output.rows.len() <= self.config.max_num_seqs);
        let sequences: BTreeSet<_> = output.rows.iter().map(|row| row.sequence).collect();
        assert_eq!(sequences.len(), output.rows.len(), "one row a sequence");
    }

    fn check_rows(&mut self, output: &SchedulerOutput) {
        for row in &output.rows {
            let sequence = self.scheduler.sequence(row.sequence).expect("it lives");
            let mirror = self.mirrors.get_mut(&row.sequence).expect("it lives");
            let end = row.start + row.tokens.len();
            assert!(
                !mirror.held && !mirror.awaits_row,
                "not to be scheduled: {row:?}"
            );
            assert!(!row.tokens.is_empty());
            assert_eq!(row.tokens, mirror.tokens[row.start..end]);
            assert_eq!(row.samples, end == mirror.tokens.len());
            assert_eq!(row.start, sequence.num_computed());
            assert_eq!(row.epoch, sequence.epoch());
            assert_eq!(row.block_table.len(), end.div_ceil(BLOCK_TOKENS));
            mirror.awaits_row = true;
        }
    }

    fn copy_blocks(&mut self, copies: &[(BlockId, BlockId)]) {
        let targets: BTreeSet<_> = copies.iter().map(|(_, to)| to).collect();
        assert_eq!(targets.len(), copies.len(), "each target once: {copies:?}");
        for (from, to) in copies {
            assert!(
                !targets.contains(from),
                "copies depend on their order: {copies:?}"
            );
            self.memory[to.0 as usize] = self.memory[from.0 as usize];
        }
    }

    fn check_reads(&self, rows: &[Row]) {
        for row in rows {
            self.check_prefix(row.sequence, row.start, &row.block_table);
        }
    }

    /// The first `num_tokens` positions hold what the sequence's own tokens put there.
    fn check_prefix(&self, id: SequenceId, num_tokens: usize, block_table: &[BlockId]) {
        let expected = &self.mirrors[&id].prefix_hashes[..num_tokens];
        for (slots, block) in expected.chunks(BLOCK_TOKENS).zip(block_table) {
            let found = &self.memory[block.0 as usize][..slots.len()];
            assert_eq!(found, slots, "{id:?} reads another's KV in {block:?}");
        }
    }

    fn write(&mut self, rows: &[Row]) {
        let holders = self.count_holders();
        for row in rows {
            for position in row.start..row.start + row.tokens.len() {
                let block = row.block_table[position / BLOCK_TOKENS];
                assert_eq!(
                    holders[&block], 1,
                    "{:?} writes into shared {block:?}",
                    row.sequence
                );
                self.memory[block.0 as usize][position % BLOCK_TOKENS] =
                    self.mirrors[&row.sequence].prefix_hashes[position];
            }
        }
    }

    /// In how many block tables each block is.
    fn count_holders(&self) -> BTreeMap<BlockId, usize> {
        let mut holders = BTreeMap::new();
        for &id in self.mirrors.keys() {
            for &block in self.scheduler.sequence(id).expect("it lives").block_table() {
                *holders.entry(block).or_insert(0) += 1;
            }
        }
        holders
    }

    /// What holds after every operation.
    fn check(&self) {
        let stats = self.scheduler.stats();
        assert_eq!(
            stats.blocks_free + stats.blocks_cached + stats.blocks_used,
            self.config.num_blocks as usize,
            "blocks are conserved: {stats:?}"
        );
        assert_eq!(stats.blocks_used, self.count_holders().len(), "{stats:?}");
        assert_eq!(stats.waiting + stats.running, self.mirrors.len());
        assert!(stats.running <= self.config.max_num_seqs);
        for (&id, mirror) in &self.mirrors {
            let sequence = self.scheduler.sequence(id).expect("it lives");
            assert_eq!(sequence.tokens(), mirror.tokens);
            assert_eq!(sequence.is_held(), mirror.held);
            assert!(sequence.num_computed() < mirror.tokens.len());
            self.check_prefix(id, sequence.num_computed(), sequence.block_table());
        }
    }
}

/// A prompt that shares no block with any of another `seed`.
pub(crate) fn distinct_prompt(seed: u64, num_tokens: usize) -> Vec<TokenId> {
    let first = 1000 + seed as TokenId;
    std::iter::once(first)
        .chain(common_prompt(num_tokens))
        .take(num_tokens)
        .collect()
}

/// A prompt that shares its beginning with every other one of these.
pub(crate) fn common_prompt(num_tokens: usize) -> Vec<TokenId> {
    (0..num_tokens as TokenId)
        .map(|position| position % 7)
        .collect()
}

/// (start, tokens, samples) of each row.
pub(crate) fn shape(output: &SchedulerOutput) -> Vec<(usize, usize, bool)> {
    let rows = output.rows.iter();
    rows.map(|row| (row.start, row.tokens.len(), row.samples))
        .collect()
}

/// Whose rows they are.
pub(crate) fn order(output: &SchedulerOutput) -> Vec<SequenceId> {
    output.rows.iter().map(|row| row.sequence).collect()
}
