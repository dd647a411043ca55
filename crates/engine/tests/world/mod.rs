//! The world of the simulation: an engine over a scripted model, callers of all tempers.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis_engine::scripted::ScriptedRunner;
use portcullis_engine::{
    Clock, End, Engine, EngineConfig, EngineHandle, EngineStatus, GenerateParts, GenerateRequest,
    Limits, StreamEvent, TokenStream,
};
use portcullis_gate::{Gate, GateReport, Quota, RuleSet};
use portcullis_scheduler::{BLOCK_TOKENS, SchedulerConfig};
use portcullis_text::Tokenizer;
use portcullis_types::{Priority, SamplingParams, StopParams, Tenant, TokenId, Usage};

/// The token that ends an answer; below it, every token is a byte.
const END: TokenId = 256;

/// SplitMix64: enough for choosing scenarios, and the same everywhere.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        hash(self.0)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.within(1, n) == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() - 1)]
    }
}

fn hash(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What the rules of the simulation forbid, found by looking at the whole text.
pub(crate) fn leaks(text: &str) -> bool {
    let digits = |s: &str| s.len() >= 2 && s.as_bytes()[..2].iter().all(u8::is_ascii_digit);
    text.contains("bad")
        || text
            .match_indices("AC-")
            .any(|(at, found)| digits(&text[at + found.len()..]))
}

/// A language in which forbidden things are frequent, some characters have two bytes, and the next
/// token depends on the whole context.
fn language(context: &[TokenId]) -> Vec<(TokenId, f32)> {
    let last = context.last().copied().unwrap_or(0);
    let follow = |likely: u8, p: f32| vec![(u32::from(likely), p), (u32::from(b'x'), 1.0 - p)];
    match u8::try_from(last).unwrap_or(0) {
        b'b' => follow(b'a', 0.8),
        b'a' => follow(b'd', 0.7),
        b'A' => follow(b'C', 0.9),
        b'C' => follow(b'-', 0.9),
        b'-' => follow(b'1', 0.9),
        0xC3 => vec![(0xA9, 1.0)],
        _ => {
            let seed = context.iter().fold(17u64, |h, &t| hash(h ^ u64::from(t)));
            let weight = |i: u64| (hash(seed ^ i) % 1000 + 1) as f32;
            let letters = [b'b', b'A', b'1', b'2', b'x', b' ', 0xC3];
            let mut all: Vec<_> = letters
                .iter()
                .zip(1..)
                .map(|(&l, i)| (u32::from(l), weight(i)))
                .collect();
            all.push((END, weight(99) / 3.0));
            let total: f32 = all.iter().map(|(_, w)| w).sum();
            all.iter_mut().for_each(|(_, w)| *w /= total);
            all
        }
    }
}

/// A tokenizer with one token for each byte.
fn tokenizer() -> Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let mut vocab = String::new();
        for byte in 0..=255u8 {
            let name = serde_json::to_string(&byte_level(byte).to_string()).expect("a character");
            write!(vocab, "{name}: {byte}, ").expect("a string grows");
        }
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{{"id": {END}, "content": "<end>", "single_word": false, "lstrip": false,
              "rstrip": false, "normalized": false, "special": true}}],
            "normalizer": null,
            "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}},
            "post_processor": null,
            "decoder": {{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}},
            "model": {{"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
              "vocab": {{{vocab} "<end>": {END}}}, "merges": []}}}}"#
        );
        let folder = tempfile::tempdir().expect("a folder for the tokenizer");
        std::fs::write(folder.path().join("tokenizer.json"), json).expect("the folder is writable");
        Tokenizer::load(folder.path()).expect("a byte tokenizer")
    });
    TOKENIZER.clone()
}

/// GPT-2's printable stand-in for a byte.
fn byte_level(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + rank).expect("a letter beyond Latin-1")
}

const RULES: [&str; 6] = [
    "open",
    "observe",
    "redact",
    "resample",
    "reject",
    "completion",
];

fn gate(rules: &str) -> Gate {
    static SETS: LazyLock<Vec<(&str, Arc<RuleSet>)>> = LazyLock::new(|| {
        RULES[1..]
            .iter()
            .map(|name| (*name, Arc::new(rule_set(name))))
            .collect()
    });
    let quota = Quota {
        attempts_max: 30,
        discarded_tokens_max: 1_000,
    };
    match SETS.iter().find(|(name, _)| *name == rules) {
        Some((_, set)) => Gate::new(vec![Arc::clone(set)], quota),
        None => Gate::open(),
    }
}

fn rule_set(name: &str) -> RuleSet {
    let (mode, scope, action) = match name {
        "observe" => ("observe", "segment", "reject"),
        "completion" => ("enforce", "completion", "resample"),
        action => ("enforce", "segment", action),
    };
    // Text leaves long before an observer has its checkpoint.
    let every_tokens = if mode == "observe" { 7 } else { 1 };
    let source = format!(
        r#"
ruleset: {name}
version: 1
mode: {mode}
checkpoint: {{every_tokens: {every_tokens}}}
resample: {{max_attempts: 4, scope: {scope}, then: reject}}
rules:
- {{id: bad, why: simulation, phrases: [bad], normalise: none, action: {action}}}
- {{id: account, why: simulation, regex: 'AC-[0-9]{{2}}', action: {action}}}
tests:
- {{rule: bad, should_fail: "a bad word"}}
- {{rule: account, should_fail: "AC-12"}}
"#
    );
    RuleSet::load(source.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// An engine, stepped by hand.
pub(crate) struct World {
    pub(crate) engine: Engine<ScriptedRunner>,
    handle: EngineHandle,
    max_model_len: usize,
    faulty: bool,
}

impl World {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let num_blocks = rng.within(4, 30) as u32;
        let config = SchedulerConfig {
            num_blocks,
            max_batched_tokens: rng.within(4, 96),
            max_num_seqs: rng.within(1, 8),
            max_model_len: (num_blocks as usize * BLOCK_TOKENS).min(200),
            ageing_steps: rng.within(2, 60) as u64,
        };
        let fault_every = rng.one_in(8).then(|| rng.within(3, 40) as u64);
        let memory = rng.one_in(6).then(|| rng.within(1, 60));
        Self::with(config, fault_every, memory)
    }

    pub(crate) fn roomy(max_model_len: usize) -> Self {
        Self::of(512, 8, max_model_len)
    }

    /// With steps of so many tokens and sequences.
    pub(crate) fn of(max_batched_tokens: usize, max_num_seqs: usize, max_model_len: usize) -> Self {
        let config = SchedulerConfig {
            num_blocks: 64,
            max_batched_tokens,
            max_num_seqs,
            max_model_len,
            ageing_steps: 10,
        };
        Self::with(config, None, None)
    }

    /// `memory` is what the runner has, in tokens of a step.
    fn with(scheduler: SchedulerConfig, fault_every: Option<u64>, memory: Option<usize>) -> Self {
        let max_model_len = scheduler.max_model_len;
        let runner = ScriptedRunner::new(scheduler.num_blocks, language)
            .with_memory_for(memory.unwrap_or(usize::MAX));
        let runner = match fault_every {
            Some(every) => runner.with_faults(move |step| step % every == 0),
            None => runner,
        };
        let config = EngineConfig {
            scheduler,
            max_waiting: 64,
            stream_buffer: 4,
            tokenizer: tokenizer(),
            clock: Arc::new(NoClock),
        };
        let (engine, handle) = Engine::by_hand(config, runner);
        Self {
            engine,
            handle,
            max_model_len,
            faulty: fault_every.is_some(),
        }
    }

    pub(crate) fn status(&self) -> EngineStatus {
        self.handle.status()
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.faulty
    }

    pub(crate) fn check_blocks(&self, seed: u64) {
        let stats = self.engine.scheduler().stats();
        assert_eq!(
            stats.blocks_used + stats.blocks_cached + stats.blocks_free,
            stats.blocks_total,
            "seed {seed}: blocks are lost"
        );
    }

    pub(crate) fn check_nothing_is_left(&self, seed: u64) {
        let stats = self.engine.scheduler().stats();
        assert_eq!(
            (stats.blocks_used, stats.running, stats.waiting),
            (0, 0, 0),
            "seed {seed}"
        );
    }
}

/// How a caller reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    Eager,
    /// Takes one event every so many steps.
    Slow {
        every: usize,
    },
    /// Goes away so many steps after the call was submitted.
    Leaves {
        after: usize,
    },
    /// Cancels so many steps after the call was submitted, and reads on, one event every so many
    /// steps.
    Cancels {
        after: usize,
        every: usize,
    },
}

/// What a caller got for one choice.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) text: String,
    pub(crate) end: Option<End>,
    pub(crate) usage: Option<Usage>,
    pub(crate) report: Option<GateReport>,
    /// Tokens of the text.
    pub(crate) tokens: u64,
    /// Log-probabilities of the prompt.
    pub(crate) scores: Option<Vec<Option<f32>>>,
}

/// A caller and its call.
pub(crate) struct Call {
    pub(crate) rules: &'static str,
    pub(crate) reader: Reader,
    pub(crate) choices: Vec<Received>,
    pub(crate) n: u32,
    pub(crate) max_tokens: usize,
    prompt: Vec<TokenId>,
    sampling: SamplingParams,
    stop: Vec<String>,
    min_tokens: usize,
    /// Whether it asks how likely its prompt was.
    scored: bool,
    priority: Priority,
    tenant: Tenant,
    max_model_len: usize,
    arrives: usize,
    stream: Option<TokenStream>,
    over: bool,
}

impl Call {
    pub(crate) fn random(rng: &mut Rng, world: &World) -> Self {
        let len = world.max_model_len;
        let prompt_len = rng.within(1, len / 2);
        // Prompts begin alike, so that the prefix cache has something to find.
        let prompt = (0..prompt_len)
            .map(|i| {
                if i < 70 {
                    (i % 7) as u32 + 97
                } else {
                    rng.within(97, 122) as u32
                }
            })
            .collect();
        let max_tokens = rng.within(1, (len - prompt_len).min(50));
        Self {
            rules: rng.pick(&RULES),
            reader: match rng.within(0, 6) {
                0 => Reader::Slow {
                    every: rng.within(2, 9),
                },
                1 => Reader::Leaves {
                    after: rng.within(0, 30),
                },
                2 => Reader::Cancels {
                    after: rng.within(0, 30),
                    every: rng.within(1, 4),
                },
                _ => Reader::Eager,
            },
            choices: Vec::new(),
            n: rng.pick(&[1, 1, 1, 2, 3]),
            max_tokens,
            prompt,
            sampling: SamplingParams {
                temperature: rng.pick(&[0.0, 1.0]),
                seed: rng.next(),
                ..SamplingParams::default()
            },
            stop: if rng.one_in(3) {
                vec!["x1".into(), "  ".into()]
            } else {
                Vec::new()
            },
            min_tokens: if rng.one_in(4) { max_tokens / 2 } else { 0 },
            scored: rng.one_in(4),
            priority: rng.pick(&[Priority::Batch, Priority::Standard, Priority::Realtime]),
            tenant: Tenant([rng.within(0, 1) as u8; 32]),
            max_model_len: len,
            arrives: rng.within(0, 40),
            stream: None,
            over: false,
        }
    }

    /// With a prompt of 40 tokens, and 100 that do not end before.
    pub(crate) fn long(rules: &'static str, n: u32) -> Self {
        Self {
            rules,
            reader: Reader::Eager,
            choices: Vec::new(),
            n,
            max_tokens: 100,
            prompt: vec![97; 40],
            sampling: SamplingParams::default(),
            stop: Vec::new(),
            min_tokens: 100,
            scored: false,
            priority: Priority::Standard,
            tenant: Tenant([0; 32]),
            max_model_len: 200,
            arrives: 0,
            stream: None,
            over: false,
        }
    }

    pub(crate) fn enforces(&self) -> bool {
        !matches!(self.rules, "open" | "observe")
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Submits when it is time, then reads or leaves.
    pub(crate) fn turn(&mut self, step: usize, world: &World) {
        if self.over || step < self.arrives {
            return;
        }
        if self.stream.is_none() {
            self.stream = Some(
                world
                    .handle
                    .submit(self.request())
                    .expect("the queue has room"),
            );
            self.choices = (0..self.n).map(|_| Received::default()).collect();
        }
        let age = step - self.arrives;
        match self.reader {
            Reader::Leaves { after } if age >= after => self.leave(),
            Reader::Slow { every } => {
                if age.is_multiple_of(every) {
                    self.read(1);
                }
            }
            Reader::Cancels { after, every } => {
                if age == after {
                    self.cancel();
                }
                if age.is_multiple_of(every) {
                    self.read(1);
                }
            }
            Reader::Eager | Reader::Leaves { .. } => self.read(usize::MAX),
        }
    }

    /// Goes away.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
        self.over = true;
    }

    /// Cancels, and waits for what the engine says.
    pub(crate) fn cancel(&self) {
        let stream = self.stream.as_ref();
        stream.expect("the call was submitted").cancel();
    }

    fn request(&self) -> GenerateRequest {
        let limits = Limits {
            max_model_len: self.max_model_len,
            vocab_size: 257,
            max_choices: 4,
        };
        let parts = GenerateParts {
            request_id: "simulated".into(),
            prompt: self.prompt.clone(),
            choices: self.n,
            sampling: self.sampling.clone(),
            stop: StopParams {
                min_tokens: self.min_tokens,
                strings: self.stop.clone(),
                token_ids: vec![END],
                ..StopParams::default()
            },
            max_tokens: Some(self.max_tokens),
            priority: self.priority,
            tenant: self.tenant,
            gate: gate(self.rules),
            prompt_logprobs: self.scored.then_some(2),
            shown: std::sync::Arc::default(),
        };
        GenerateRequest::new(parts, &limits).expect("within the limits")
    }

    fn read(&mut self, events_max: usize) {
        for _ in 0..events_max {
            let event = self.stream.as_mut().and_then(TokenStream::try_next);
            match event {
                None => break,
                Some(StreamEvent::Prompt { choice, scores }) => {
                    let received = &mut self.choices[choice as usize];
                    assert!(received.text.is_empty(), "text before the prompt");
                    let tokens: Vec<_> = scores.iter().map(|score| score.token).collect();
                    assert_eq!(tokens, self.prompt, "the prompt in other tokens");
                    let unknown = scores.iter().filter(|score| score.logprob.is_none());
                    assert_eq!(unknown.count(), 1, "all but the first token have a score");
                    let scores = scores.iter().map(|score| score.logprob).collect();
                    assert!(received.scores.replace(scores).is_none(), "told twice");
                }
                Some(StreamEvent::Admitted { choice, admitted }) => {
                    let received = &mut self.choices[choice as usize];
                    assert!(received.end.is_none(), "text after the end");
                    received.text.push_str(admitted.text());
                    received.tokens += admitted.num_tokens() as u64;
                }
                Some(StreamEvent::Ended {
                    choice,
                    end,
                    usage,
                    report,
                    ..
                }) => {
                    let received = &mut self.choices[choice as usize];
                    if matches!(end, End::Finished(_)) {
                        assert_eq!(
                            received.scores.is_some(),
                            self.scored,
                            "scores of the prompt"
                        );
                    }
                    assert!(received.end.replace(end).is_none(), "a choice ended twice");
                    received.usage = Some(usage);
                    received.report = Some(*report);
                }
            }
        }
        self.over = self.choices.iter().all(|choice| choice.end.is_some());
    }

    /// The same call in an engine of its own with room for everything.
    pub(crate) fn run_alone(&self) -> Call {
        self.run_alone_with_status().0
    }

    pub(crate) fn run_alone_with_status(&self) -> (Call, EngineStatus) {
        let mut alone = Call {
            reader: Reader::Eager,
            choices: Vec::new(),
            prompt: self.prompt.clone(),
            sampling: self.sampling.clone(),
            stop: self.stop.clone(),
            arrives: 0,
            stream: None,
            over: false,
            ..*self
        };
        let mut world = World::roomy(self.max_model_len);
        let mut steps = 0;
        while !alone.is_over() {
            alone.turn(steps, &world);
            world.engine.step();
            steps += 1;
            assert!(steps < 10_000, "a call alone does not end");
        }
        (alone, world.handle.status())
    }
}
