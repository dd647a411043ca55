//! The files that a run leaves besides its table.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::OutputArgs;
use crate::error::BenchError;
use crate::load::Run;
use crate::outcome::Outcome;

/// Where results go. Opened before the run, so that a wrong path does not cost an hour; what was made
/// and got nothing is removed at the end.
pub(crate) struct Files<'a> {
    paths: &'a OutputArgs,
    made: Vec<&'a Path>,
}

impl<'a> Files<'a> {
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn open(paths: &'a OutputArgs) -> Result<Self, BenchError> {
        let all = [&paths.output, &paths.requests, &paths.csv];
        let mut files = Self {
            paths,
            made: Vec::new(),
        };
        for path in all.into_iter().flatten() {
            let is_new = !path.exists();
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|error| failed(path, error))?;
            files.made.extend(is_new.then_some(path.as_path()));
        }
        Ok(files)
    }

    /// Writes the report: of a run, or of a sweep.
    pub(crate) fn write_report(&self, report: &impl Serialize) -> Result<(), BenchError> {
        write(&self.paths.output, |file| {
            serde_json::to_writer_pretty(&mut *file, report)?;
            writeln!(file)
        })
    }

    /// Writes every request of every repeat.
    pub(crate) fn write_requests(&self, runs: &[Run]) -> Result<(), BenchError> {
        write(&self.paths.requests, |file| write_lines(file, runs))?;
        write(&self.paths.csv, |file| write_csv(file, runs))
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        for path in &self.made {
            if path.metadata().is_ok_and(|file| file.len() == 0) {
                // An empty file is in nobody's way.
                drop(std::fs::remove_file(path));
            }
        }
    }
}

fn write(
    path: &Option<PathBuf>,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), BenchError> {
    let Some(path) = path else {
        return Ok(());
    };
    let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
        content(&mut file)?;
        file.flush()
    });
    written.map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> BenchError {
    BenchError::File {
        path: path.to_owned(),
        source,
    }
}

#[derive(Serialize)]
struct Line<'a> {
    repeat: usize,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

fn all(runs: &[Run]) -> impl Iterator<Item = Line<'_>> {
    runs.iter().enumerate().flat_map(|(repeat, run)| {
        let outcomes = run.outcomes.iter();
        outcomes.map(move |outcome| Line { repeat, outcome })
    })
}

fn write_lines(file: &mut impl Write, runs: &[Run]) -> io::Result<()> {
    for line in all(runs) {
        serde_json::to_writer(&mut *file, &line)?;
        writeln!(file)?;
    }
    Ok(())
}

fn write_csv(file: &mut impl Write, runs: &[Run]) -> io::Result<()> {
    writeln!(
        file,
        "repeat,index,due_s,sent_s,ended_s,lag_ms,input_tokens,output_tokens,counted,ttft_ms,\
         tpot_ms,e2el_ms,chunks,finish_reason,error"
    )?;
    for Line { repeat, outcome } in all(runs) {
        let ms =
            |seconds: Option<f64>| seconds.map_or(String::new(), |it| format!("{:.3}", it * 1e3));
        writeln!(
            file,
            "{repeat},{},{:.6},{:.6},{:.6},{},{},{},{},{},{},{},{},{},{}",
            outcome.index,
            outcome.due,
            outcome.sent,
            outcome.ended,
            ms(Some(outcome.lag)),
            outcome.input_tokens,
            outcome.output_tokens,
            outcome.counted,
            ms(outcome.ttft()),
            ms(outcome.tpot()),
            ms(Some(outcome.latency())),
            outcome.chunks.len(),
            quoted(outcome.finish_reason.as_deref()),
            quoted(outcome.error.as_deref()),
        )?;
    }
    Ok(())
}

/// A field as RFC 4180 writes text.
fn quoted(text: Option<&str>) -> String {
    text.map_or(String::new(), |text| {
        format!("\"{}\"", text.replace('"', "\"\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Chunk;

    fn run() -> Run {
        let outcome = Outcome {
            index: 3,
            sent: 1.0,
            ended: 1.5,
            output_tokens: 3,
            chunks: vec![Chunk {
                at: 1.1,
                tokens: 3.0,
            }],
            error: Some("it said \"no\", twice".into()),
            ..Outcome::default()
        };
        Run {
            outcomes: vec![outcome],
            ..Run::default()
        }
    }

    #[test]
    fn csv_has_a_column_for_each_head_and_quotes_text() {
        let mut written = Vec::new();
        write_csv(&mut written, &[run()]).unwrap();
        let text = String::from_utf8(written).unwrap();
        let (head, line) = text.split_once('\n').unwrap();
        assert_eq!(head.split(',').count(), 15);
        assert_eq!(
            line.trim_end(),
            "0,3,0.000000,1.000000,1.500000,0.000,0,3,false,100.000,200.000,500.000,1,,\
             \"it said \"\"no\"\", twice\""
        );
    }

    #[test]
    fn lines_are_read_back_as_outcomes() {
        let mut written = Vec::new();
        write_lines(&mut written, &[run(), run()]).unwrap();
        let text = String::from_utf8(written).unwrap();
        let read: Vec<Outcome> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read, [run().outcomes, run().outcomes].concat());
        assert!(text.lines().nth(1).unwrap().starts_with("{\"repeat\":1,"));
    }

    #[test]
    fn a_run_that_comes_to_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let [new, old] = ["new.json", "old.csv"].map(|name| folder.path().join(name));
        File::create(&old).unwrap();
        let paths = OutputArgs {
            output: Some(new.clone()),
            csv: Some(old.clone()),
            ..OutputArgs::default()
        };
        drop(Files::open(&paths).unwrap());
        assert!(!new.exists());
        assert!(old.exists(), "it was there before");
        Files::open(&paths).unwrap().write_report(&1).unwrap();
        assert!(new.exists());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_known_before_the_run() {
        let paths = OutputArgs {
            csv: Some("/nowhere/to/be.csv".into()),
            ..OutputArgs::default()
        };
        let error = Files::open(&paths).err().unwrap().to_string();
        assert!(error.contains("/nowhere/to/be.csv"), "{error}");
    }
}
