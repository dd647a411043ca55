//! `portcullis bench gate`: the same work without rules, with rules that only watch, and with rules
//! in force, in turns. Machines drift, so each round is compared with itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use portcullis_bench::bench::{Measured, Stop};
use portcullis_bench::in_process::{self, EngineTarget};
use portcullis_bench::measure;
use portcullis_bench::plan::Plan;
use portcullis_bench::report::Summary;
use portcullis_bench::target::{Ask, Prompt};
use portcullis_engine::{Clock, StreamEvent, SystemClock};
use portcullis_gate::{BoundSet, Checkpoint, Gate, Quota, RuleSet, Verdict, Vocabulary};
use portcullis_types::Sample;

use super::EngineBench;
use crate::args::bench::GateBenchArgs;
use crate::env::Environment as Variables;
use crate::{demo, output};

/// Answers whose text tells what a rule costs.
const SAMPLE_ANSWERS: usize = 16;
/// How often they are scanned for it.
const SCANS: usize = 20;

/// Runs the command.
///
/// # Errors
/// A rule file has mistakes, or nothing was answered.
pub(crate) fn run(args: &GateBenchArgs, variables: &Variables) -> Result<()> {
    let sets = load_all(args)?;
    let bench = EngineBench::start(&args.of, variables)?;
    let plan = args.of.run.plan()?;
    let stop = bench.runtime.block_on(async { Stop::listen() });
    let variants = Variant::all(&bench, &sets)?;
    let mut measured: Vec<Vec<Measured>> = variants.iter().map(|_| Vec::new()).collect();
    'rounds: for round in 0..args.rounds.max(1) {
        for turn in 0..variants.len() {
            let index = (round + turn) % variants.len();
            let target = &variants[index].target;
            let run = bench
                .runtime
                .block_on(in_process::measure(target, &plan, &stop));
            if stop.is_set() {
                break 'rounds;
            }
            measured[index].push(run?);
        }
    }
    let rounds = measured.iter().map(Vec::len).min().unwrap_or_default();
    ensure!(rounds > 0, "stopped before each way was measured once");
    for of_variant in &mut measured {
        of_variant.truncate(rounds);
    }
    output::line(table(&variants, &measured, &plan)?)?;
    let texts = bench.runtime.block_on(texts(&variants[0].target, &plan))?;
    output::line(costs(&sets, &texts))?;
    drop(variants);
    bench.end()
}

fn load_all(args: &GateBenchArgs) -> Result<Vec<Arc<RuleSet>>> {
    if args.rules.is_empty() {
        return Ok(vec![Arc::new(demo::rules()?)]);
    }
    args.rules.iter().map(|path| load(path)).collect()
}

fn load(path: &Path) -> Result<Arc<RuleSet>> {
    let source = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    match RuleSet::load(&source) {
        Ok(set) => Ok(Arc::new(set)),
        Err(_) => bail!(
            "{path} has mistakes; `portcullis rules check {path}` tells them",
            path = path.display()
        ),
    }
}

/// One way to run the same work.
struct Variant {
    name: &'static str,
    target: Arc<EngineTarget>,
}

impl Variant {
    fn all(bench: &EngineBench, sets: &[Arc<RuleSet>]) -> Result<[Self; 3]> {
        let observed = sets.iter().map(|set| BoundSet::observed(Arc::clone(set)));
        let observed = Gate::new(observed, Quota::default());
        let enforced = Gate::new(sets.iter().map(Arc::clone), Quota::default());
        if !enforced.is_enforced() {
            bail!("no rule set says `mode: enforce`: there is nothing to compare");
        }
        let variant = |name, gate: Gate| {
            let target = Arc::new(bench.target(for_model(bench, gate)?));
            Ok::<_, anyhow::Error>(Self { name, target })
        };
        Ok([
            variant("off", Gate::open())?,
            variant("observe", observed)?,
            variant("enforce", enforced)?,
        ])
    }
}

/// Grammars and watched tokens need the model's vocabulary.
fn for_model(bench: &EngineBench, gate: Gate) -> Result<Gate> {
    if !gate.needs_model() {
        return Ok(gate);
    }
    let model = &bench.model;
    let bytes = |id| model.tokenizer.completion_bytes(id);
    let vocabulary = Vocabulary::new(model.shape.vocab_size, bytes, &model.end_tokens())?;
    Ok(gate.for_model(&Arc::new(vocabulary))?)
}

fn table(variants: &[Variant], measured: &[Vec<Measured>], plan: &Plan) -> Result<String> {
    let rounds: Vec<Vec<Summary>> = measured.iter().map(|runs| summaries(runs, plan)).collect();
    if rounds
        .iter()
        .flatten()
        .all(|summary| summary.completed == 0)
    {
        bail!("nothing was answered; try the same with `portcullis bench throughput`");
    }
    let heads = [
        "gate",
        "tokens/s",
        "to off, by round",
        "first held",
        "longest held",
        "attempts",
        "discarded",
    ];
    let rows = variants.iter().zip(&rounds);
    let rows = rows.map(|(variant, summaries)| row(variant.name, summaries, &rounds[0]));
    let table = output::table(heads, rows, "nothing was measured");
    Ok(format!(
        "{table}\n\n{} rounds; tokens/s are those released, net of discarded ones: medians. The \
         ratio is the median of those of each round, with the least and the greatest.",
        rounds[0].len()
    ))
}

fn summaries(runs: &[Measured], plan: &Plan) -> Vec<Summary> {
    let of = |measured: &Measured| measure::summarise(&measured.runs, plan);
    runs.iter().map(of).collect()
}

fn row(name: &str, summaries: &[Summary], off: &[Summary]) -> [String; 7] {
    let speed = |summary: &Summary| summary.output_throughput;
    let ratios = sorted(
        summaries
            .iter()
            .zip(off)
            .map(|(it, off)| speed(it) / speed(off)),
    );
    let gate = |of: fn(&portcullis_bench::report::GateSummary) -> f64| {
        median(&sorted(
            summaries.iter().filter_map(|it| it.gate.as_ref().map(of)),
        ))
    };
    [
        name.to_owned(),
        format!("{:.1}", median(&sorted(summaries.iter().map(speed)))),
        match (ratios.first(), ratios.last()) {
            (Some(least), Some(most)) => {
                format!("{:.3} ({least:.3} to {most:.3})", median(&ratios))
            }
            _ => String::new(),
        },
        format!("{:.2} ms", gate(|it| it.mean_first_held_ms)),
        format!("{:.2} ms", gate(|it| it.mean_held_ms)),
        format!("{:.2}", gate(|it| it.mean_attempts)),
        format!("{}", gate(|it| it.discarded_tokens as f64)),
    ]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the model writes here, token by token.
async fn texts(target: &EngineTarget, plan: &Plan) -> Result<Vec<Vec<String>>> {
    let mut texts = Vec::new();
    for number in 0..SAMPLE_ANSWERS {
        let ask = Ask {
            prompt: Prompt::Text(format!("{} {number}", demo::QUESTION)),
            input_tokens: 0,
            output_tokens: plan.output_len,
        };
        let mut stream = target.submit(&ask).await.map_err(anyhow::Error::msg)?;
        let mut pieces = Vec::new();
        while let Some(event) = stream.next().await {
            if let StreamEvent::Admitted { admitted, .. } = event {
                pieces.push(admitted.into_text());
            }
        }
        texts.push(pieces);
    }
    Ok(texts)
}

/// What each rule costs by itself on these texts.
fn costs(sets: &[Arc<RuleSet>], texts: &[Vec<String>]) -> String {
    let open = cost(&Gate::open(), texts);
    let rules = sets
        .iter()
        .flat_map(|set| set.rules().map(move |rule| (set, rule)));
    let rows = rules.filter_map(|(set, rule)| {
        let gate = Gate::new([Arc::new(set.alone(&rule.id)?)], Quota::default());
        let time = cost(&gate, texts).saturating_sub(open);
        let name = format!("{}/{}", set.name(), rule.id);
        Some([name, format!("{} ns", time.as_nanos())])
    });
    let table = output::table(["rule by itself", "time a token"], rows, "there is no rule");
    let tokens: usize = texts.iter().map(Vec::len).sum();
    format!(
        "\n{table}\n\nOver {tokens} tokens that the model wrote, the quickest of {SCANS} scans, beside a \
         gate without rules ({} ns). Rules share automata: a set costs less than its rules together, and \
         rules that mask tokens or watch the model are not seen here.",
        open.as_nanos()
    )
}

/// Of a token, in the quickest scan: a machine that has other work makes a scan slower, never
/// quicker.
fn cost(gate: &Gate, texts: &[Vec<String>]) -> Duration {
    let times = (0..SCANS).map(|_| scan(gate, texts));
    times.min().unwrap_or_default()
}

fn scan(gate: &Gate, texts: &[Vec<String>]) -> Duration {
    let clock = SystemClock::new();
    let mut tokens = 0;
    for text in texts {
        let mut state = gate.begin(false);
        for piece in text {
            tokens += 1;
            let verdict = state.check(Checkpoint {
                sample: Sample::certain(0),
                text: piece,
                end: None,
            });
            // A rule that acts ends the text: what would come next is another text.
            if !matches!(std::hint::black_box(verdict), Verdict::Continue(_)) {
                break;
            }
        }
    }
    clock.now() / tokens.max(1)
}
