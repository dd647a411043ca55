//! `portcullis rules test`: what the rules of a file would have found in past text.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use portcullis_gate::{Finding, Rule, RuleSet, Side, ToldByText};
use serde::Serialize;

use super::transcript::{Line, Text, Transcript, format_of};
use crate::args::authoring::{RulesTestArgs, SideArg};
use crate::output::printable;

/// Characters shown on either side of a match.
const CONTEXT_CHARACTERS: usize = 40;
/// Characters shown of a match.
const MATCH_CHARACTERS: usize = 80;
/// Lines that were not read, of which the reason is shown.
const UNREAD_SHOWN: usize = 5;

pub(super) fn run(args: &RulesTestArgs) -> Result<ExitCode> {
    let Some(set) = super::load(&args.file)? else {
        return Ok(ExitCode::FAILURE);
    };
    let side = match args.side {
        SideArg::Input => Side::Input,
        SideArg::Output => Side::Output,
    };
    let format = args.format.unwrap_or_else(|| format_of(&args.transcript));
    let mut report = Report::new(&set, &args.transcript);
    for line in Transcript::new(open(&args.transcript)?, format, side) {
        let line = line.with_context(|| format!("{} cannot be read", report.transcript))?;
        report.take(&set, line, args.examples);
    }
    report.close();
    args.output.show(&report, describe)?;
    let failed = report.unread > 0 || (args.fail_on_match && report.rules_matched > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

#[derive(Debug, Serialize)]
struct Report {
    ruleset: String,
    digest: String,
    mode: &'static str,
    transcript: String,
    /// Lines that are not blank.
    lines: usize,
    prompts: usize,
    answers: usize,
    /// Lines that were not read: nothing is known of them.
    unread: usize,
    unread_lines: Vec<UnreadLine>,
    rules_matched: usize,
    rules_not_evaluated: usize,
    rules: Vec<RuleReport>,
}

#[derive(Debug, Serialize)]
struct UnreadLine {
    line: usize,
    reason: String,
}

#[derive(Debug, Serialize)]
struct RuleReport {
    id: String,
    kind: &'static str,
    on: &'static str,
    action: &'static str,
    #[serde(skip)]
    side: Side,
    status: Status,
    /// What was not evaluated, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_evaluated: Option<String>,
    texts: usize,
    texts_matched: usize,
    matches: usize,
    examples: Vec<Example>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Evaluated,
    EvaluatedInPart,
    NotEvaluated,
}

/// A match in its surroundings.
#[derive(Debug, Serialize)]
struct Example {
    line: usize,
    part: String,
    /// First byte of the match in its text.
    start: usize,
    end: usize,
    before: String,
    matched: String,
    after: String,
}

impl Report {
    fn new(set: &RuleSet, transcript: &Path) -> Self {
        Self {
            ruleset: format!("{}@{}", set.name(), set.version()),
            digest: set.digest().to_owned(),
            mode: set.mode().as_str(),
            transcript: transcript.display().to_string(),
            lines: 0,
            prompts: 0,
            answers: 0,
            unread: 0,
            unread_lines: Vec::new(),
            rules_matched: 0,
            rules_not_evaluated: 0,
            rules: set.rules().map(RuleReport::new).collect(),
        }
    }

    fn take(&mut self, set: &RuleSet, line: Line, examples_max: usize) {
        self.lines += 1;
        let texts = match line.texts {
            Ok(texts) => texts,
            Err(reason) => return self.note_unread(line.number, reason.to_string()),
        };
        for text in texts {
            match set.scan(text.side, &text.text) {
                Ok(findings) => self.note(line.number, &text, &findings, examples_max),
                Err(error) => self.note_unread(line.number, format!("{}: {error}", text.part)),
            }
        }
    }

    fn note_unread(&mut self, line: usize, reason: String) {
        self.unread += 1;
        if self.unread_lines.len() < UNREAD_SHOWN {
            self.unread_lines.push(UnreadLine { line, reason });
        }
    }

    fn note(&mut self, line: usize, text: &Text, findings: &[Finding], examples_max: usize) {
        match text.side {
            Side::Input => self.prompts += 1,
            Side::Output => self.answers += 1,
        }
        let of_side = self.rules.iter_mut().filter(|rule| rule.side == text.side);
        for rule in of_side {
            rule.texts += 1;
            let before = rule.matches;
            for found in findings.iter().filter(|found| *found.rule == *rule.id) {
                rule.matches += 1;
                if rule.examples.len() < examples_max {
                    rule.examples.push(Example::new(line, text, found));
                }
            }
            rule.texts_matched += usize::from(rule.matches > before);
        }
    }

    /// A rule that had nothing to look at has not passed.
    fn close(&mut self) {
        for rule in &mut self.rules {
            if rule.texts == 0 && rule.status != Status::NotEvaluated {
                let texts = match rule.side {
                    Side::Input => "prompts",
                    Side::Output => "answers",
                };
                rule.status = Status::NotEvaluated;
                rule.not_evaluated = Some(format!("the transcript holds no {texts}"));
            }
            self.rules_matched += usize::from(rule.matches > 0);
            self.rules_not_evaluated += usize::from(rule.status == Status::NotEvaluated);
        }
    }
}

impl RuleReport {
    fn new(rule: &Rule) -> Self {
        let (status, not_evaluated) = match rule.kind.told_by_text() {
            ToldByText::All => (Status::Evaluated, None),
            ToldByText::AllBut(limit) => (
                Status::EvaluatedInPart,
                Some(format!("`{limit}`: a text does not tell its tokens")),
            ),
            ToldByText::Nothing(reason) => (Status::NotEvaluated, Some(reason.to_owned())),
        };
        Self {
            id: rule.id.to_string(),
            kind: rule.kind.as_str(),
            on: rule.on.as_str(),
            action: rule.action.as_str(),
            side: rule.on,
            status,
            not_evaluated,
            texts: 0,
            texts_matched: 0,
            matches: 0,
            examples: Vec::new(),
        }
    }
}

impl Example {
    fn new(line: usize, Text { part, text, .. }: &Text, found: &Finding) -> Self {
        Self {
            line,
            part: part.clone(),
            start: found.start,
            end: found.end,
            before: last_characters(&text[..found.start], CONTEXT_CHARACTERS),
            matched: first_characters(&text[found.start..found.end], MATCH_CHARACTERS),
            after: first_characters(&text[found.end..], CONTEXT_CHARACTERS),
        }
    }
}

fn first_characters(text: &str, count: usize) -> String {
    match text.char_indices().nth(count) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn last_characters(text: &str, count: usize) -> String {
    match text.char_indices().nth_back(count.saturating_sub(1)) {
        Some((start, _)) if start > 0 => format!("…{}", &text[start..]),
        _ => text.to_owned(),
    }
}

fn describe(report: &Report) -> String {
    let mut told = vec![
        format!("{}, {}, {}", report.ruleset, report.mode, report.digest),
        format!(
            "{}: {}, {}, {}",
            report.transcript,
            count(report.lines, "line"),
            count(report.prompts, "prompt"),
            count(report.answers, "answer")
        ),
        String::new(),
    ];
    for rule in &report.rules {
        told.push(describe_rule(rule));
        told.extend(rule.examples.iter().map(|example| example.describe(report)));
    }
    told.push(String::new());
    for UnreadLine { line, reason } in &report.unread_lines {
        let reason = printable(reason);
        told.push(format!("{}:{line}: not read: {reason}", report.transcript));
    }
    told.push(summary(report));
    told.join("\n")
}

fn describe_rule(rule: &RuleReport) -> String {
    let RuleReport {
        id,
        kind,
        on,
        action,
        ..
    } = rule;
    let head = format!("{id} ({kind} on {on}, {action})");
    let not = rule.not_evaluated.as_deref().unwrap_or_default();
    if rule.status == Status::NotEvaluated {
        return format!("{head}: not evaluated: {not}");
    }
    let matches = match rule.matches {
        0 => format!("nothing in {}", count(rule.texts, "text")),
        matches => format!(
            "{} in {} of {}",
            count_of(matches, "match", "matches"),
            rule.texts_matched,
            count(rule.texts, "text")
        ),
    };
    match rule.status {
        Status::EvaluatedInPart => format!("{head}: {matches}; not evaluated: {not}"),
        _ => format!("{head}: {matches}"),
    }
}

impl Example {
    fn describe(&self, report: &Report) -> String {
        let [before, matched, after] = [&self.before, &self.matched, &self.after].map(printable);
        let (line, part) = (self.line, printable(&self.part));
        let place = format!("{}:{line}", report.transcript);
        match self.part.as_str() {
            "line" => format!("  {place}: {before}»{matched}«{after}"),
            _ => format!("  {place} {part}: {before}»{matched}«{after}"),
        }
    }
}

fn summary(report: &Report) -> String {
    let rules = report.rules.len();
    let mut told = format!(
        "{} of {} matched",
        report.rules_matched,
        count(rules, "rule")
    );
    if report.rules_not_evaluated > 0 {
        told += &format!(", {} not evaluated", report.rules_not_evaluated);
    }
    if report.unread > 0 {
        told += &format!("; {} not read", count(report.unread, "line"));
    }
    told
}

fn count(number: usize, one: &str) -> String {
    count_of(number, one, &format!("{one}s"))
}

fn count_of(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}
