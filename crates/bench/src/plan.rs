//! What a run will do, every default decided: flags before preset, preset before our own.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::args::{Dataset, LoadArgs, MeasureArgs, WorkloadArgs};
use crate::error::BenchError;
use crate::preset::{PLAIN, Preset};

/// Requests, tokens and repeats that a run may ask for: typing errors end here.
const COUNT_MAX: usize = 10_000_000;

/// A run as it will be made.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Where prompts come from.
    pub dataset: Dataset,
    /// Its file.
    pub dataset_path: Option<PathBuf>,
    /// Tokens of a prompt, on average.
    pub input_len: usize,
    /// Tokens of an answer, on average.
    pub output_len: usize,
    /// Whether the answers' length was asked for, rather than taken from a default.
    #[serde(skip)]
    pub output_len_given: bool,
    /// Lengths are drawn from `L × (1 − R)` to `L × (1 + R)`.
    pub range_ratio: f64,
    /// Tokens that prompts of a group share.
    pub prefix_len: usize,
    /// Groups that share a prefix.
    pub num_prefixes: usize,
    /// Requests of a repeat; of a trace, all of it if `None`.
    pub num_prompts: Option<usize>,
    /// Of prompts, lengths and arrivals.
    pub seed: u64,
    /// Where unsaid values came from.
    pub preset: Option<Preset>,
    /// How it is sent.
    #[serde(flatten)]
    pub load: Load,
    /// What makes a request a good one.
    pub goodput: Goodput,
    /// Percentiles to tell.
    pub percentiles: Vec<f64>,
    /// Requests before the measurement.
    pub warmup: usize,
    /// How often it is measured.
    pub repeats: usize,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Requests a second; all at once if infinite.
    #[serde(serialize_with = "finite")]
    pub request_rate: f64,
    /// Whether a rate was asked for: a trace keeps its own unless one was.
    #[serde(skip)]
    pub rate_given: bool,
    /// Shape of the gaps: 1 is Poisson.
    pub burstiness: f64,
    /// Requests under way at most.
    pub max_concurrency: Option<usize>,
    /// After which no more are sent.
    pub duration: Option<Duration>,
}

/// Limits that a good request keeps, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Goodput {
    /// Time to the first token.
    #[serde(rename = "ttft", skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Time per token after it.
    #[serde(rename = "tpot", skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f64>,
    /// End to end.
    #[serde(rename = "e2el", skip_serializing_if = "Option::is_none")]
    pub e2el_ms: Option<f64>,
}

impl Plan {
    /// Decides what flags leave open, and refuses what makes no sense.
    ///
    /// # Errors
    /// `BenchError::Usage`, naming the flag.
    pub fn resolve(
        workload: &WorkloadArgs,
        load: &LoadArgs,
        measure: &MeasureArgs,
    ) -> Result<Self, BenchError> {
        let preset = workload.preset.map_or(PLAIN, Preset::defaults);
        let dataset = workload.dataset.unwrap_or(preset.dataset);
        let input_len = workload.input_len.unwrap_or(preset.input_len);
        let is_whole_trace = dataset == Dataset::Trace && workload.preset.is_none();
        let given = Goodput::parse(&measure.goodput)?;
        let plan = Self {
            dataset,
            dataset_path: workload.dataset_path.clone(),
            input_len,
            output_len: workload.output_len.unwrap_or(preset.output_len),
            output_len_given: workload.output_len.is_some(),
            range_ratio: workload.range_ratio.unwrap_or(preset.range_ratio),
            prefix_len: workload.prefix_len.unwrap_or(input_len / 2),
            num_prefixes: workload.num_prefixes.unwrap_or(10),
            num_prompts: workload
                .num_prompts
                .or((!is_whole_trace).then_some(preset.num_prompts)),
            seed: workload.seed,
            preset: workload.preset,
            load: Load {
                request_rate: load.request_rate.unwrap_or(preset.request_rate),
                rate_given: load.request_rate.is_some(),
                burstiness: load.burstiness.unwrap_or(1.0),
                max_concurrency: load.max_concurrency,
                duration: load.duration,
            },
            goodput: given.or(preset.goodput),
            percentiles: measure.percentiles.clone(),
            warmup: load.warmup,
            repeats: load.repeats,
        };
        plan.check().map(|()| plan)
    }

    fn check(&self) -> Result<(), BenchError> {
        let wrong = |what: String| Err(BenchError::Usage(what));
        let counts = [
            ("--input-len", Some(self.input_len)),
            ("--output-len", Some(self.output_len)),
            ("--num-prompts", self.num_prompts),
            ("--num-prefixes", Some(self.num_prefixes)),
            ("--max-concurrency", self.load.max_concurrency),
            ("--repeats", Some(self.repeats)),
            ("--warmup", Some(self.warmup + 1)),
        ];
        for (flag, count) in counts {
            if count.is_some_and(|count| !(1..=COUNT_MAX).contains(&count)) {
                return wrong(format!("{flag} must be from 1 to {COUNT_MAX}"));
            }
        }
        if !(0.0..1.0).contains(&self.range_ratio) {
            return wrong("--range-ratio must be at least 0 and below 1".into());
        }
        if !(self.load.burstiness > 0.0 && self.load.burstiness.is_finite()) {
            return wrong("--burstiness must be above 0; 1 is Poisson".into());
        }
        if self.dataset == Dataset::PrefixRepetition && self.prefix_len >= self.input_len {
            return wrong("--prefix-len must be below --input-len".into());
        }
        if self.percentiles.iter().any(|p| !(0.0..=100.0).contains(p)) {
            return wrong("--percentiles must be from 0 to 100".into());
        }
        self.check_file()
    }

    fn check_file(&self) -> Result<(), BenchError> {
        let needs = match self.dataset {
            Dataset::Sharegpt => "a ShareGPT file (JSON)",
            Dataset::Sonnet => "a text file",
            Dataset::Trace => "a trace: Mooncake JSONL or Azure CSV",
            Dataset::Random | Dataset::PrefixRepetition | Dataset::Demo => return Ok(()),
        };
        match self.dataset_path {
            Some(_) => Ok(()),
            None => Err(BenchError::Usage(format!(
                "this dataset needs {needs}; give --dataset-path"
            ))),
        }
    }

    /// Whether prompts are made up, so that answers have no end of their own worth keeping.
    pub fn is_made_up(&self) -> bool {
        !matches!(self.dataset, Dataset::Sharegpt | Dataset::Demo)
    }
}

impl Goodput {
    /// No limits.
    pub const NONE: Self = Self {
        ttft_ms: None,
        tpot_ms: None,
        e2el_ms: None,
    };

    /// Reads `ttft:2000 tpot:200`.
    ///
    /// # Errors
    /// A word is no such limit.
    pub fn parse(words: &[String]) -> Result<Self, BenchError> {
        let mut limits = Self::NONE;
        for word in words.iter().flat_map(|words| words.split([',', ' '])) {
            limits.set(word).ok_or_else(|| {
                BenchError::Usage(format!(
                    "--goodput {word}: write ttft:2000, tpot:200 or e2el:10000, in ms"
                ))
            })?;
        }
        Ok(limits)
    }

    fn set(&mut self, word: &str) -> Option<()> {
        let (metric, ms) = word.split_once(':')?;
        let ms = ms.parse().ok().filter(|ms| *ms > 0.0)?;
        let limit = match metric {
            "ttft" => &mut self.ttft_ms,
            "tpot" => &mut self.tpot_ms,
            "e2el" => &mut self.e2el_ms,
            _ => return None,
        };
        *limit = Some(ms);
        Some(())
    }

    /// These, or if there are none, those.
    fn or(self, those: Self) -> Self {
        if self == Self::NONE { those } else { self }
    }
}

/// JSON knows no infinity: all at once is `null`.
fn finite<S: Serializer>(rate: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rate.is_finite().then_some(rate).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(workload: WorkloadArgs) -> Result<Plan, BenchError> {
        let load = LoadArgs {
            repeats: 1,
            ..LoadArgs::default()
        };
        Plan::resolve(&workload, &load, &MeasureArgs::default())
    }

    #[test]
    fn flags_beat_the_preset_and_the_preset_beats_our_defaults() {
        let plan = resolve(WorkloadArgs {
            preset: Some(Preset::MixtralServer),
            output_len: Some(7),
            ..WorkloadArgs::default()
        })
        .unwrap();
        assert_eq!((plan.output_len, plan.num_prompts), (7, Some(15_000)));
        assert_eq!(plan.goodput.tpot_ms, Some(200.0));
        let plain = resolve(WorkloadArgs::default()).unwrap();
        assert_eq!((plain.output_len, plain.num_prompts), (128, Some(200)));
        assert_eq!(plain.goodput, Goodput::NONE);
    }

    #[test]
    fn limits_are_read_or_refused_by_name() {
        let read = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            Goodput::parse(&words)
        };
        let both = read(&["ttft:2000", "tpot:200"]).unwrap();
        assert_eq!((both.ttft_ms, both.tpot_ms), (Some(2000.0), Some(200.0)));
        assert_eq!(read(&["ttft:2000,tpot:200"]).unwrap(), both);
        for wrong in ["ttft", "itl:3", "tpot:-1", "tpot:soon"] {
            let said = read(&[wrong]).unwrap_err().to_string();
            assert!(said.contains(wrong) && said.contains("ttft:2000"), "{said}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_flag() {
        let check = |workload: WorkloadArgs, flag: &str| {
            let said = resolve(workload).unwrap_err().to_string();
            assert!(said.contains(flag), "{said}");
        };
        let plain = WorkloadArgs::default;
        check(
            WorkloadArgs {
                input_len: Some(0),
                ..plain()
            },
            "--input-len",
        );
        check(
            WorkloadArgs {
                range_ratio: Some(1.0),
                ..plain()
            },
            "--range-ratio",
        );
        check(
            WorkloadArgs {
                dataset: Some(Dataset::Trace),
                ..plain()
            },
            "--dataset-path",
        );
        let prefix = WorkloadArgs {
            dataset: Some(Dataset::PrefixRepetition),
            prefix_len: Some(256),
            ..plain()
        };
        check(prefix, "--prefix-len");
    }
}
