//! Logits and draws for the sampler's corpus, the same for the same seed.

use portcullis_kernels::DrawRow;

use crate::uniform::uniform;

/// A [`DrawRow`] that owns its lists.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) greedy: bool,
    pub(super) temperature: f32,
    pub(super) top_k: Option<u32>,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    pub(super) repetition_penalty: f32,
    pub(super) presence_penalty: f32,
    pub(super) frequency_penalty: f32,
    pub(super) seed: u64,
    pub(super) position: u64,
    pub(super) attempt: u32,
    pub(super) bias: Vec<(u32, f32)>,
    pub(super) prompt: Vec<u32>,
    pub(super) completion: Vec<u32>,
    pub(super) allowed: Option<Vec<u32>>,
    pub(super) banned: Vec<u32>,
    pub(super) weights: Vec<(u32, f32)>,
    pub(super) watch: Vec<Box<[u32]>>,
    pub(super) top_logprobs: usize,
}

impl Default for Owned {
    fn default() -> Self {
        Self {
            greedy: false,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0x1234_5678_9abc_def0,
            position: 17,
            attempt: 1,
            bias: vec![],
            prompt: vec![],
            completion: vec![],
            allowed: None,
            banned: vec![],
            weights: vec![],
            watch: vec![],
            top_logprobs: 0,
        }
    }
}

impl Owned {
    pub(super) fn row(&self) -> DrawRow<'_> {
        DrawRow {
            greedy: self.greedy,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            position: self.position,
            attempt: self.attempt,
            bias: &self.bias,
            prompt: &self.prompt,
            completion: &self.completion,
            allowed: self.allowed.as_deref(),
            banned: &self.banned,
            weights: &self.weights,
            watch: &self.watch,
            top_logprobs: self.top_logprobs,
        }
    }
}

/// A draw for every parameter at each value that is of interest, the others at rest.
pub(super) fn each_alone(vocab: usize) -> Vec<Owned> {
    type Set = fn(&mut Owned, u32);
    let lists: [Set; 13] = [
        |_, _| (),
        |draw, _| draw.greedy = true,
        |draw, last| draw.bias = vec![(last, 4.0), (0, -1.5), (last, 0.25)],
        |draw, last| (draw.presence_penalty, draw.completion) = (1.5, vec![last, 0, last]),
        |draw, last| (draw.frequency_penalty, draw.completion) = (0.7, vec![last, 0, last]),
        |draw, last| (draw.repetition_penalty, draw.prompt) = (1.3, vec![3, last, 0, 1, 3]),
        |draw, last| draw.allowed = Some(vec![0x5555_5555; last as usize / 64 + 1]),
        |draw, last| draw.banned = vec![last, 1, 2, last],
        |draw, last| draw.weights = vec![(0, -0.5), (2, f32::NEG_INFINITY), (last, -2.0)],
        |draw, last| draw.weights = (0..=last).map(|token| (token, f32::NEG_INFINITY)).collect(),
        |draw, last| draw.watch = vec![[0, 2].into(), [].into(), (0..=last).collect()],
        |draw, _| draw.top_logprobs = 20,
        |draw, _| (draw.seed, draw.position, draw.attempt) = (u64::MAX, 1 << 20, 9),
    ];
    let with = |set: &dyn Fn(&mut Owned)| {
        let mut draw = Owned::default();
        set(&mut draw);
        draw
    };
    let last = vocab as u32 - 1;
    let mut draws: Vec<Owned> = lists
        .iter()
        .map(|set| with(&|draw| set(draw, last)))
        .collect();
    draws.extend([1e-6, 0.3, 1.7, 100.0].map(|t| with(&|draw| draw.temperature = t)));
    draws.extend([1, 2, 50, 5000].map(|k| with(&|draw| draw.top_k = Some(k))));
    draws.extend([1e-6, 0.5, 0.9, 0.999_999_9].map(|p| with(&|draw| draw.top_p = p)));
    draws.extend([1e-4, 0.2, 1.0].map(|p| with(&|draw| draw.min_p = p)));
    draws
}

/// What clients ask for most.
pub(super) fn truncated() -> Vec<Owned> {
    let draw = |temperature, top_k, top_p, min_p| Owned {
        temperature,
        top_k,
        top_p,
        min_p,
        top_logprobs: 20,
        ..Owned::default()
    };
    vec![
        Owned::default(),
        draw(1.0, Some(50), 1.0, 0.0),
        draw(0.7, None, 0.9, 0.0),
        draw(1.5, Some(40), 0.95, 0.05),
    ]
}

/// Shapes of a row of logits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Logits {
    /// From -8 to 8, all alike.
    Spread,
    /// As a model's: a few tokens have almost everything.
    Peaked,
    /// Few values, so that cuts fall among equals.
    Tied,
    /// A third is minus infinity.
    Holed,
}

impl Logits {
    pub(super) const ALL: [Self; 4] = [Self::Spread, Self::Peaked, Self::Tied, Self::Holed];

    pub(super) fn rows(self, vocab: usize, num_rows: usize) -> Vec<Vec<f32>> {
        let row = |seed: usize| {
            uniform(seed as u64 * 31 + vocab as u64)
                .take(vocab)
                .map(|x| self.logit(x))
                .collect()
        };
        (0..num_rows).map(row).collect()
    }

    /// Of a number from -2 to 2.
    fn logit(self, x: f32) -> f32 {
        match self {
            Self::Spread => x * 4.0,
            Self::Peaked => -(x.abs() / 2.0 + 1e-7).ln() * 2.5,
            Self::Tied => (x * 2.0).round(),
            Self::Holed if x < -0.7 => f32::NEG_INFINITY,
            Self::Holed => x * 3.0,
        }
    }
}

/// A source of random draws.
pub(super) struct Choices(Box<dyn Iterator<Item = f32>>);

impl Choices {
    pub(super) fn new(seed: u64) -> Self {
        Self(Box::new(uniform(seed ^ 0xC0FF_EE00)))
    }

    /// Every parameter at rest or at one of its values.
    pub(super) fn draw(&mut self, vocab: usize) -> Owned {
        let attempt = self.below(3) as u32;
        Owned {
            greedy: self.below(6) == 0,
            temperature: self.one_of(&[1.0, 1.0, 0.7, 1.3, 0.01, 1e-6, 50.0]),
            top_k: self.one_of(&[None, None, Some(1), Some(2), Some(50), Some(1000)]),
            top_p: self.one_of(&[1.0, 1.0, 0.9, 0.5, 1e-6]),
            min_p: self.one_of(&[0.0, 0.0, 0.0, 0.05, 0.5]),
            repetition_penalty: self.one_of(&[1.0, 1.2]),
            presence_penalty: self.one_of(&[0.0, 0.5, -0.5]),
            frequency_penalty: self.one_of(&[0.0, 0.3]),
            seed: self.below(1 << 20) as u64 * 0x0001_2345_6789,
            position: self.below(100_000) as u64,
            attempt,
            bias: self.weighted(vocab, 3.0),
            prompt: self.tokens(vocab),
            completion: self.tokens(vocab),
            allowed: self.allowed(vocab),
            banned: self.tokens(vocab),
            weights: self.weights(vocab),
            watch: (0..self.below(3))
                .map(|_| self.tokens(vocab).into())
                .collect(),
            top_logprobs: self.one_of(&[0, 0, 1, 5, 20]),
        }
    }

    fn weights(&mut self, vocab: usize) -> Vec<(u32, f32)> {
        let mut weights = self.weighted(vocab, 1.0);
        weights.sort_by_key(|(token, _)| *token);
        weights.dedup_by_key(|(token, _)| *token);
        for (_, weight) in &mut weights {
            *weight = if *weight > 0.0 {
                f32::NEG_INFINITY
            } else {
                *weight
            };
        }
        weights
    }

    fn weighted(&mut self, vocab: usize, scale: f32) -> Vec<(u32, f32)> {
        let tokens = self.tokens(vocab);
        let weight = |token| (token, self.next() * scale);
        tokens.into_iter().map(weight).collect()
    }

    fn allowed(&mut self, vocab: usize) -> Option<Vec<u32>> {
        let words = self.below(vocab.div_ceil(32) + 1);
        let word = |_| (self.below(1 << 22) as u32).wrapping_mul(0x9E37_79B1);
        let words = (0..words).map(word).collect();
        (self.below(2) == 0).then_some(words)
    }

    /// None half of the time, else a few, some of them twice.
    fn tokens(&mut self, vocab: usize) -> Vec<u32> {
        let count = self.one_of(&[0, 0, 0, 2, 5, 40]);
        let token = |_| self.below(vocab) as u32;
        let mut tokens: Vec<u32> = (0..count).map(token).collect();
        tokens.extend_from_within(..count / 5);
        tokens
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() + 2.0) / 4.0 * end as f32) as usize % end
    }

    fn next(&mut self) -> f32 {
        self.0.next().expect("it never ends")
    }
}
