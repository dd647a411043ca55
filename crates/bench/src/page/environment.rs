//! Where and how the runs were made.

use serde::Serialize;

use crate::report::Environment;

use super::run::Run;

/// A fact and its values: one where all runs agree.
#[derive(Serialize)]
pub(super) struct Fact {
    name: &'static str,
    values: Vec<Value>,
}

#[derive(Serialize)]
struct Value {
    text: String,
    /// Runs it holds for, if not for all.
    runs: Option<String>,
}

type Read = fn(&Environment) -> Option<String>;

const FACTS: [(&str, Read); 9] = [
    ("Date", |e| Some(e.date.clone())),
    ("Server", |e| e.server.clone()),
    ("Model", |e| Some(e.model.clone())),
    ("Model digest", |e| e.model_digest.clone()),
    ("CPU", |e| Some(e.cpu.clone())),
    ("GPU", |e| e.gpu.clone()),
    ("Driver", |e| e.driver.clone()),
    ("Commit", |e| e.commit.clone()),
    ("Command", |e| Some(command_line(&e.command))),
];

pub(super) fn facts(runs: &[Run]) -> Vec<Fact> {
    FACTS
        .iter()
        .map(|(name, read)| fact(name, *read, runs))
        .collect()
}

fn fact(name: &'static str, read: Read, runs: &[Run]) -> Fact {
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    for run in runs {
        let text = read(&run.report.environment).filter(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| "not known".to_owned());
        match values.iter_mut().find(|(known, _)| *known == text) {
            Some((_, labels)) => labels.push(&run.label),
            None => values.push((text, vec![&run.label])),
        }
    }
    let agreed = values.len() == 1;
    let values = values.into_iter().map(|(text, labels)| Value {
        text,
        runs: (!agreed).then(|| labels.join(", ")),
    });
    Fact {
        name,
        values: values.collect(),
    }
}

/// As it can be pasted into a shell.
fn command_line(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
