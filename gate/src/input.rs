//! Rules on the prompt: each of its texts is looked at whole, before the model sees anything.

use std::{ops::Range, sync::Arc};

use crate::{
    Action, BoundSet, Cause, Finding, Gate, Mode, OnGateError, Refusal, RuleReport, RuleStatus,
    Side, limits::FINDINGS_MAX, redact::Redactor, report::Tally, whole,
};

/// A text of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputText {
    /// It means what it says.
    Plain(String),
    /// JSON, such as the arguments of a tool: rules see what it means (`\u0041` is an `A`), and a
    /// redaction leaves it JSON.
    Json(String),
}

/// The texts of a prompt as the model may see them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmittedInput {
    /// As many as were given, in their order, redactions replaced.
    pub texts: Vec<String>,
    /// What was found: the first [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// What became of each rule on the prompt: by set in the order of [`Gate::sets`], then in the
    /// order of the file.
    pub rules: Box<[RuleReport]>,
}

/// A prompt that the model may not see.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedInput {
    /// Which rule refused.
    pub refusal: Refusal,
    /// What was found, the reason for the refusal included: the first [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// What became of each rule on the prompt, as in [`AdmittedInput::rules`].
    pub rules: Box<[RuleReport]>,
}

impl Gate {
    /// Whether some rule looks at the prompt.
    pub fn reads_input(&self) -> bool {
        self.sets().iter().any(|set| set.set().reads_input())
    }

    /// Judges the texts of a prompt: those of its messages, or the prompt itself.
    ///
    /// # Errors
    /// A rule with `action: reject` matched, or a set could not be evaluated and says `reject`.
    pub fn check_input(
        &self,
        texts: impl IntoIterator<Item = impl Into<InputText>>,
    ) -> Result<AdmittedInput, Box<RefusedInput>> {
        let mut check = InputCheck::new(self);
        let mut admitted = Vec::new();
        let mut texts = texts.into_iter().map(Into::into);
        while let Some(text) = texts.next() {
            match check.judge(&text) {
                Ok(redacted) => admitted.push(redacted.unwrap_or(text.into_string())),
                Err(refusal) => {
                    let is_read = texts.next().is_none();
                    return Err(Box::new(RefusedInput {
                        refusal,
                        rules: check.rule_reports(is_read),
                        findings: check.findings,
                    }));
                }
            }
        }
        Ok(AdmittedInput {
            texts: admitted,
            rules: check.rule_reports(true),
            findings: check.findings,
        })
    }
}

/// A prompt that is being read.
struct InputCheck<'a> {
    gate: &'a Gate,
    sets: Vec<SetCheck>,
    /// Texts so far.
    texts: usize,
    findings: Vec<Finding>,
}

/// What a set has made of it.
struct SetCheck {
    /// Texts that it has read.
    texts: usize,
    failed: bool,
    /// For each of its rules.
    tallies: Vec<Tally>,
}

impl<'a> InputCheck<'a> {
    fn new(gate: &'a Gate) -> Self {
        let sets = gate.sets().iter().map(|set| SetCheck {
            texts: 0,
            failed: false,
            tallies: vec![Tally::default(); set.set().rules().count()],
        });
        Self {
            gate,
            sets: sets.collect(),
            texts: 0,
            findings: Vec::new(),
        }
    }

    /// Gives the text with its redactions, if it has any.
    fn judge(&mut self, text: &InputText) -> Result<Option<String>, Refusal> {
        let index = self.texts;
        self.texts += 1;
        let (text, is_json) = (text.as_str(), matches!(text, InputText::Json(_)));
        let mut redactor = match is_json {
            true => Redactor::of_json(),
            false => Redactor::of_text(),
        };
        let (mut redacts, mut refusal) = (false, None);
        for (number, set) in self.gate.sets().iter().enumerate() {
            let Ok(matches) = whole::matches(set.set().input(), text, is_json) else {
                self.sets[number].failed = true;
                match fails_closed(set) {
                    true => return Err(refuse(set, None, Cause::Automaton)),
                    false => continue,
                }
            };
            self.sets[number].texts += 1;
            for (rule, span) in matches {
                match self.record(number, rule, finding(set, rule, index, span.clone())) {
                    Action::Reject | Action::Resample => {
                        let cause = Cause::Input { index };
                        refusal.get_or_insert_with(|| refuse(set, Some(rule), cause));
                    }
                    Action::Redact => {
                        let with = &set.set().definition().rules[rule].with;
                        redactor.add(span, 0, (number, rule), with);
                        redacts = true;
                    }
                    Action::Flag | Action::Observe => {}
                }
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        Ok(redacts.then(|| {
            let mut redacted = String::with_capacity(text.len());
            redactor.render(0, text, &mut redacted);
            redacted
        }))
    }

    /// Records what a rule of set `number` found, and says what is to be done about it.
    fn record(&mut self, number: usize, rule: usize, finding: Finding) -> Action {
        let action = finding.action;
        let tally = &mut self.sets[number].tallies[rule];
        tally.count();
        tally.note(action);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
        action
    }

    /// One for each rule on the prompt; `is_read` says whether it has no further text.
    fn rule_reports(&self, is_read: bool) -> Box<[RuleReport]> {
        let mut reports = Vec::new();
        for (number, (check, set)) in self.sets.iter().zip(self.gate.sets()).enumerate() {
            let otherwise = match check.failed {
                true => RuleStatus::Error,
                false if is_read && check.texts == self.texts && self.texts > 0 => RuleStatus::Pass,
                false => RuleStatus::NotRun,
            };
            let rules = set.set().rules().zip(&check.tallies);
            let rules = rules.filter(|(rule, _)| rule.on == Side::Input);
            reports.extend(rules.map(|(rule, tally)| tally.report(number, rule, otherwise)));
        }
        reports.into()
    }
}

impl InputText {
    /// The text as it stands in the prompt.
    pub fn as_str(&self) -> &str {
        let (Self::Plain(text) | Self::Json(text)) = self;
        text
    }

    fn into_string(self) -> String {
        let (Self::Plain(text) | Self::Json(text)) = self;
        text
    }
}

impl From<String> for InputText {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

fn finding(set: &BoundSet, rule: usize, index: usize, span: Range<usize>) -> Finding {
    let definition = set.set().definition();
    Finding {
        ruleset: definition.name.clone(),
        version: definition.version,
        rule: definition.rules[rule].id.clone(),
        action: set.action(rule),
        input: Some(index),
        start: span.start,
        end: span.end,
        attempt: 0,
    }
}

fn refuse(set: &BoundSet, rule: Option<usize>, cause: Cause) -> Refusal {
    let definition = set.set().definition();
    let rule = rule.map(|rule| &definition.rules[rule]);
    Refusal {
        ruleset: definition.name.clone(),
        version: definition.version,
        rule: rule.map(|rule| rule.id.clone()),
        why: rule.map_or_else(|| Arc::from(""), |rule| rule.why.clone()),
        after_release: false,
        cause,
    }
}

fn fails_closed(set: &BoundSet) -> bool {
    set.mode() == Mode::Enforce && set.set().on_gate_error() == OnGateError::Reject
}
