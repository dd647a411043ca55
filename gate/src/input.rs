//! Rules on the prompt: each of its texts is looked at whole, before the model sees anything.

use std::{ops::Range, sync::Arc};

use crate::{
    Action, BoundSet, Cause, Finding, Gate, Mode, OnGateError, Refusal, limits::FINDINGS_MAX,
    redact::Redactor, scan::GaveUp, whole,
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
}

/// A prompt that the model may not see.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedInput {
    /// Which rule refused.
    pub refusal: Refusal,
    /// What was found, the reason for the refusal included.
    pub findings: Vec<Finding>,
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
        let mut input = AdmittedInput::default();
        for (index, text) in texts.into_iter().map(Into::into).enumerate() {
            match self.judge_text(index, &text, &mut input.findings) {
                Ok(redacted) => input.texts.push(redacted.unwrap_or(text.into_string())),
                Err(refusal) => {
                    let findings = input.findings;
                    return Err(Box::new(RefusedInput { refusal, findings }));
                }
            }
        }
        Ok(input)
    }

    /// Gives the text with its redactions, if it has any.
    fn judge_text(
        &self,
        index: usize,
        text: &InputText,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<String>, Refusal> {
        let (text, is_json) = (text.as_str(), matches!(text, InputText::Json(_)));
        let mut redactor = match is_json {
            true => Redactor::of_json(),
            false => Redactor::of_text(),
        };
        let (mut redacts, mut refusal) = (false, None);
        for (number, set) in self.sets().iter().enumerate() {
            let matches = match whole::matches(set.set().input(), text, is_json) {
                Ok(matches) => matches,
                Err(GaveUp) if fails_closed(set) => {
                    return Err(refuse(set, None, Cause::Automaton));
                }
                Err(GaveUp) => continue,
            };
            for (rule, span) in matches {
                let finding = finding(set, rule, index, span.clone());
                match finding.action {
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
                if findings.len() < FINDINGS_MAX {
                    findings.push(finding);
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
