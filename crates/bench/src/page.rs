//! One HTML page from the reports of one or more runs: figures, plots, and where they come from.
//!
//! The page stands alone: no script, no network, drawings made here. Whatever a report says is
//! text and stays text: the template escapes it, [`element`] escapes it, and the page's own
//! policy forbids scripts and requests.

mod axes;
mod distribution;
mod element;
mod environment;
mod failures;
mod figure;
mod gate;
mod headline;
mod interactivity;
mod number;
mod run;
mod sample;
mod scale;
mod source;
mod timeline;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::report::SweepReport;

pub use run::Named;
pub use source::Source;

use environment::Fact;
use figure::{Figure, Table};
use headline::Row;
use run::{Run, Tone};

/// What `portcullis bench plot` is told.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// Reports, one a run or a sweep; SERIES=FILE says which line a run belongs to, else its server does
    #[arg(required = true, value_name = "[SERIES=]REPORT.json")]
    pub reports: Vec<Source>,

    /// The page to write [default: beside the first report, ending in .html]
    #[arg(long, value_name = "PAGE.html")]
    pub output: Option<PathBuf>,

    /// What the page is called [default: the model]
    #[arg(long)]
    pub title: Option<String>,
}

/// Why there is no page.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlotError {
    /// A report cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file is something else.
    #[error(
        "{} is no report of `portcullis bench`; give a file that `--output` wrote",
        path.display()
    )]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },

    /// The template is wrong, which is a mistake of this program.
    #[error("cannot lay out the page")]
    Layout(#[from] minijinja::Error),

    /// The page cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads reports and writes their page; tells where it is.
///
/// # Errors
///
/// If a report cannot be read or is none, or the page cannot be written.
pub fn plot(args: &PlotArgs) -> Result<PathBuf, PlotError> {
    let mut reports = Vec::with_capacity(args.reports.len());
    for source in &args.reports {
        reports.extend(read(source)?);
    }
    let page = html(reports, args.title.as_deref())?;
    let path = args.output.clone().or_else(|| {
        let first = args.reports.first()?;
        Some(first.path.with_extension("html"))
    });
    let path = path.unwrap_or_else(|| PathBuf::from("page.html"));
    match fs::write(&path, page) {
        Ok(()) => Ok(path),
        Err(source) => Err(PlotError::Write { path, source }),
    }
}

/// The runs of a file: one, or the points of a sweep.
fn read(source: &Source) -> Result<Vec<Named>, PlotError> {
    let Source { series, path } = source;
    let failed = |source| PlotError::Read {
        path: path.clone(),
        source,
    };
    let bytes = fs::read(path).map_err(failed)?;
    let runs = runs(&stem(path), series.as_deref(), &bytes);
    runs.map_err(|source| PlotError::NotAReport {
        path: path.clone(),
        source,
    })
}

fn runs(stem: &str, series: Option<&str>, bytes: &[u8]) -> Result<Vec<Named>, serde_json::Error> {
    /// What sets a sweep apart.
    #[derive(Deserialize)]
    struct Points {
        points: Option<IgnoredAny>,
    }
    let series = series.map(str::to_owned);
    if serde_json::from_slice::<Points>(bytes)?.points.is_some() {
        let sweep: SweepReport = serde_json::from_slice(bytes)?;
        return Ok(points(stem, series, sweep));
    }
    Ok(vec![Named {
        label: stem.to_owned(),
        series,
        report: serde_json::from_slice(bytes)?,
    }])
}

/// A sweep is a line of its own, whoever answered.
fn points(stem: &str, series: Option<String>, sweep: SweepReport) -> Vec<Named> {
    let series = series.unwrap_or_else(|| stem.to_owned());
    let points = sweep
        .points
        .into_iter()
        .enumerate()
        .map(|(nth, report)| Named {
            label: format!("{stem}-{}", nth + 1),
            series: Some(series.clone()),
            report,
        });
    points.collect()
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    stem.to_string_lossy().into_owned()
}

/// The page of these runs, whole.
///
/// # Errors
///
/// If the template is wrong.
pub fn html(reports: Vec<Named>, title: Option<&str>) -> Result<String, PlotError> {
    let page = Page::of(&run::arrange(reports), title);
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.add_template("page.html", include_str!("page/page.html"))?;
    let template = environment.get_template("page.html")?;
    Ok(template.render(Serde(&page))?)
}

/// What the template lays out.
#[derive(Serialize)]
struct Page {
    css: &'static str,
    title: String,
    legend: Vec<Entry>,
    several_series: bool,
    /// Whether some run has intervals.
    repeated: bool,
    /// Whether nothing was asked of any server.
    empty: bool,
    failed: Option<String>,
    /// What the harness says before anybody trusts the figures.
    notes: Vec<String>,
    failures: Option<Table>,
    headline: Vec<Row>,
    figures: Vec<Figure>,
    gate: Vec<Figure>,
    timelines: Vec<Figure>,
    environment: Vec<Fact>,
}

/// A run as the legend names it.
#[derive(Serialize)]
struct Entry {
    label: String,
    series: String,
    load: String,
    tone: Tone,
}

impl Page {
    fn of(runs: &[Run], title: Option<&str>) -> Self {
        Self {
            css: include_str!("page/page.css"),
            title: title.map_or_else(|| default_title(runs), str::to_owned),
            legend: runs.iter().map(Entry::of).collect(),
            several_series: runs.windows(2).any(|pair| pair[0].series != pair[1].series),
            repeated: runs.iter().any(|run| run.report.repeats.len() > 1),
            empty: runs.iter().all(Run::is_empty),
            failed: failures::notice(runs),
            notes: notes(runs),
            failures: failures::table(runs),
            headline: headline::rows(runs),
            figures: figures(runs),
            gate: gate::figures(runs),
            timelines: timelines(runs),
            environment: environment::facts(runs),
        }
    }
}

impl Entry {
    fn of(run: &Run) -> Self {
        Self {
            label: run.label.clone(),
            series: run.series.clone(),
            load: run.load(),
            tone: run.tone.clone(),
        }
    }
}

fn default_title(runs: &[Run]) -> String {
    let models = runs.iter().map(|run| &*run.report.environment.model);
    match models.into_iter().find(|model| !model.is_empty()) {
        Some(model) => format!("Benchmark of {model}"),
        None => "Benchmark".to_owned(),
    }
}

/// Each note once, and whose it is if it is not everybody's.
fn notes(runs: &[Run]) -> Vec<String> {
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (run, note) in runs
        .iter()
        .flat_map(|run| run.report.notes.iter().map(move |n| (run, n)))
    {
        match notes.iter_mut().find(|(known, _)| *known == note) {
            Some((_, labels)) => labels.push(&run.label),
            None => notes.push((note, vec![&run.label])),
        }
    }
    let told = notes.into_iter().map(|(note, labels)| {
        if labels.len() == runs.len() {
            return note.to_owned();
        }
        format!("{}: {note}", labels.join(", "))
    });
    told.collect()
}

fn figures(runs: &[Run]) -> Vec<Figure> {
    let latencies = [distribution::TTFT, distribution::TPOT, distribution::ITL];
    let distributions = latencies
        .iter()
        .map(|metric| distribution::figure(metric, runs));
    [interactivity::figure(runs)]
        .into_iter()
        .chain(distributions)
        .collect()
}

fn timelines(runs: &[Run]) -> Vec<Figure> {
    let timelines = runs.iter().map(|run| timeline::figure(run, runs.len()));
    timelines.collect()
}
