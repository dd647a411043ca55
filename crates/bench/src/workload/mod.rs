//! What is asked, and when: decided before the first request leaves, from a seed.

mod arrivals;
mod files;
mod trace;
mod words;

use rand::Rng;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::args::Dataset;
use crate::error::BenchError;
use crate::plan::Plan;
use crate::target::{Ask, Prompt};
use words::Composer;

pub use words::{Ruler, WORDS};

/// Questions that need no file, for a first look.
const QUESTIONS: [&str; 8] = [
    "What does a bank do?",
    "How is bread made?",
    "Tell me about the sea.",
    "What should I know before I buy a house?",
    "Why is the sky blue?",
    "Write two sentences about winter.",
    "How can I save money?",
    "What is a good way to learn a language?",
];

/// Requests in the order of sending.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// What to send.
    pub asks: Vec<Ask>,
    /// When each is due, s since the run began; as long as `asks`.
    pub due: Vec<f64>,
    /// What a reader should know before trusting lengths.
    pub notes: Vec<String>,
}

impl Workload {
    /// Makes the prompts and the times of repeat number `repeat`.
    ///
    /// # Errors
    /// The dataset's file cannot be used.
    pub async fn build(plan: &Plan, ruler: &impl Ruler, repeat: usize) -> Result<Self, BenchError> {
        let seed = plan.seed.wrapping_add(repeat as u64);
        let composer = Composer::new(ruler, seed).await;
        let mut workload = match plan.dataset {
            Dataset::Random => Self::untimed(random(plan, &composer).await),
            Dataset::PrefixRepetition => Self::untimed(prefixed(plan, &composer).await),
            Dataset::Demo => Self::untimed(demo(plan)),
            Dataset::Sharegpt => Self::untimed(files::sharegpt(plan, &composer).await?),
            Dataset::Sonnet => Self::untimed(files::sonnet(plan, &composer).await?),
            Dataset::Trace => trace::read(plan, &composer).await?,
        };
        if workload.due.is_empty() {
            let count = workload.asks.len();
            workload.due = arrivals::times(&plan.load, count, &mut stream(seed, ARRIVALS));
        }
        if plan.dataset != Dataset::Demo {
            workload.notes.extend(composer.note());
        }
        Ok(workload)
    }

    fn untimed(asks: Vec<Ask>) -> Self {
        Self {
            asks,
            ..Self::default()
        }
    }
}

/// Which part of a seed's randomness: prompts take the numbers from 0.
const ARRIVALS: u64 = u64::MAX;
const LENGTHS: u64 = u64::MAX - 1;
const ORDER: u64 = u64::MAX - 2;
const PREFIXES: u64 = u64::MAX - 3;

/// Independent random numbers for one purpose; the same on every machine and in every version.
fn stream(seed: u64, purpose: u64) -> ChaCha12Rng {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

/// A length from `mean × (1 − ratio)` to `mean × (1 + ratio)`, as vLLM's `--random-range-ratio`.
fn length(mean: usize, ratio: f64, rng: &mut impl Rng) -> usize {
    let low = (mean as f64 * (1.0 - ratio)).floor().max(1.0) as usize;
    let high = (mean as f64 * (1.0 + ratio)).ceil() as usize;
    rng.random_range(low..=high.max(low))
}

fn count(plan: &Plan) -> usize {
    plan.num_prompts.unwrap_or(usize::MAX)
}

/// Lengths of prompt and answer for each request.
fn lengths(plan: &Plan, seed: u64) -> impl Iterator<Item = (usize, usize)> + use<> {
    let mut rng = stream(seed, LENGTHS);
    let (input, output, ratio) = (plan.input_len, plan.output_len, plan.range_ratio);
    std::iter::repeat_with(move || {
        let input = length(input, ratio, &mut rng);
        (input, length(output, ratio, &mut rng))
    })
    .take(count(plan))
}

async fn random<R: Ruler>(plan: &Plan, composer: &Composer<'_, R>) -> Vec<Ask> {
    let sizes = lengths(plan, composer.seed);
    composer
        .compose_all(sizes.map(|size| (Vec::new(), size)))
        .await
}

async fn prefixed<R: Ruler>(plan: &Plan, composer: &Composer<'_, R>) -> Vec<Ask> {
    let mut rng = stream(composer.seed, PREFIXES);
    let groups: Vec<_> = (0..plan.num_prefixes)
        .map(|_| composer.some_words(plan.prefix_len, &mut rng))
        .collect();
    let sizes = lengths(plan, composer.seed).enumerate();
    let begun = sizes.map(|(index, size)| (groups[index % groups.len()].clone(), size));
    composer.compose_all(begun).await
}

fn demo(plan: &Plan) -> Vec<Ask> {
    let questions = QUESTIONS.iter().cycle().take(count(plan));
    questions
        .map(|question| Ask {
            prompt: Prompt::Text((*question).to_owned()),
            input_tokens: 0,
            output_tokens: plan.output_len,
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::args::{LoadArgs, MeasureArgs, WorkloadArgs};

    /// Counts words as two tokens each if they are longer than three letters, and two more for a
    /// template.
    pub(crate) struct Letters;

    impl Ruler for Letters {
        async fn count(&self, text: &str) -> Option<usize> {
            self.count_plain(text).await.map(|count| count + 2)
        }

        async fn count_plain(&self, text: &str) -> Option<usize> {
            let tokens = |word: &str| if word.len() > 3 { 2 } else { 1 };
            Some(text.split_whitespace().map(tokens).sum())
        }

        fn estimate(&self) -> (f64, f64) {
            (2.0, 1.5)
        }
    }

    pub(crate) fn plan(workload: WorkloadArgs) -> Plan {
        let load = LoadArgs {
            repeats: 1,
            ..LoadArgs::default()
        };
        Plan::resolve(&workload, &load, &MeasureArgs::default()).unwrap()
    }

    pub(crate) fn text(ask: &Ask) -> &str {
        match &ask.prompt {
            Prompt::Text(text) => text,
            Prompt::Tokens(_) => panic!("text was expected"),
        }
    }

    fn args(dataset: Dataset) -> WorkloadArgs {
        WorkloadArgs {
            dataset: Some(dataset),
            num_prompts: Some(30),
            range_ratio: Some(0.5),
            ..WorkloadArgs::default()
        }
    }

    #[tokio::test]
    async fn random_prompts_have_the_tokens_asked_for_and_differ() {
        let plan = plan(args(Dataset::Random));
        let workload = Workload::build(&plan, &Letters, 0).await.unwrap();
        assert_eq!(workload.asks.len(), 30);
        for ask in &workload.asks {
            assert_eq!(Letters.count(text(ask)).await, Some(ask.input_tokens));
            assert!((128..=384).contains(&ask.input_tokens));
            assert!((64..=192).contains(&ask.output_tokens));
        }
        assert_ne!(text(&workload.asks[0]), text(&workload.asks[1]));
        assert!(workload.notes.is_empty());
    }

    #[tokio::test]
    async fn a_seed_says_everything_and_repeats_differ() {
        let plan = plan(args(Dataset::Random));
        let build = |repeat| Workload::build(&plan, &Letters, repeat);
        let once = build(0).await.unwrap();
        assert_eq!(once.asks, build(0).await.unwrap().asks);
        assert_ne!(once.asks, build(1).await.unwrap().asks);
    }

    #[tokio::test]
    async fn groups_share_their_beginning_and_nothing_else() {
        let mut args = args(Dataset::PrefixRepetition);
        args.num_prefixes = Some(3);
        args.range_ratio = None;
        let workload = Workload::build(&plan(args), &Letters, 0).await.unwrap();
        let shared = |a: usize, b: usize| {
            let (a, b) = (text(&workload.asks[a]), text(&workload.asks[b]));
            let same = a.split(' ').zip(b.split(' ')).take_while(|(a, b)| a == b);
            same.count()
        };
        assert!((70..=80).contains(&shared(0, 3)), "{}", shared(0, 3));
        assert!(shared(0, 1) < 5);
    }
}
