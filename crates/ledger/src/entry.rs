//! What a record says.
//!
//! These words are the record's own: they do not change when the code behind them does, and a field
//! that is once written keeps its meaning. What is added later is optional.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What a record is called: `rec_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    /// Draws a new one from the operating system.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("rec_{}", hex::encode(bytes))))
    }

    /// Reads one; `None` if the text cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("rec_")?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let whole = digits.len() == 32 && digits.bytes().all(is_hex);
        whole.then(|| Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A server began to write into the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Who writes this log.
    pub replica: String,
    /// When.
    pub started_at: Timestamp,
    /// Version and build of the server.
    pub engine_build: String,
    /// What users call the model.
    pub deployment: String,
    /// Its files.
    #[serde(flatten)]
    pub digests: ModelDigests,
    /// Id of the key that signs entries from here on.
    pub record_key: String,
    /// The key that signs checkpoints from here on, as C2SP signed-note writes it.
    pub log_key: String,
}

/// The model, by its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDigests {
    /// Configuration and weights: SHA-256 of what `sha256sum` prints for these files, in the order
    /// of their names.
    pub model_digest: String,
    /// Tokenizer and chat template, in the same way.
    pub tokenizer_digest: String,
    /// An adapter, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_digest: Option<String>,
}

/// What both entries of a call say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which call.
    pub record_id: RecordId,
    /// Who writes this log.
    pub replica: String,
    /// SHA-256 of the id of the API key; none where inference needs no key.
    pub key_id_hash: Option<String>,
    /// Calls of this key before this one, on this replica: no number is left out.
    pub seq: u64,
}

/// A call began: durable before its first byte is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Which call.
    #[serde(flatten)]
    pub head: Head,
    /// When.
    pub opened_at: Timestamp,
    /// What was asked, and what holds.
    #[serde(flatten)]
    pub call: Call,
}

/// What was asked, and what holds for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Name of the request in the server's log. None where the client gave it one of its own, which
    /// could say anything, and would stay for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The route.
    pub endpoint: String,
    /// Whose cache it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the user calls the model.
    pub deployment: String,
    /// Its files.
    #[serde(flatten)]
    pub digests: ModelDigests,
    /// Version and build of the server.
    pub engine_build: String,
    /// Every rule set that holds or is observed.
    pub rulesets: Vec<RuleSetUsed>,
    /// How tokens are drawn.
    pub sampling: SamplingUsed,
    /// Completions asked for, over all prompts.
    pub choices: u32,
    /// Whether text is sent as it is admitted.
    pub stream: bool,
    /// Digest of the request's body, salted for `request`.
    pub request_commitment: String,
    /// Digests of what the model reads, salted for `prompt/0` and so on: of each prompt its tokens,
    /// four bytes each with the lowest first. Empty if a rule refused a prompt.
    pub prompt_commitments: Vec<String>,
    /// The class that says how long its text is kept, if it is kept at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// A rule set that holds for a call, or is observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSetUsed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// `sha256:` and the digest of the file.
    pub digest: String,
    /// `enforce` or `observe`, as it holds for this call.
    pub mode: String,
    /// Ids of the keys whose signatures were verified.
    pub signers: Vec<String>,
}

/// How tokens are drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingUsed {
    /// The seed of each prompt, in decimal digits: not every reader of JSON has 64 bits.
    pub seeds: Vec<String>,
    /// 0 is greedy.
    pub temperature: f32,
    /// In (0, 1].
    pub top_p: f32,
    /// None keeps every token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// In [0, 1].
    pub min_p: f32,
    /// 0 is off.
    pub presence_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// 1 is off.
    pub repetition_penalty: f32,
}

/// Numbers come from JSON, where nothing is NaN.
impl Eq for SamplingUsed {}

/// A call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Which call.
    #[serde(flatten)]
    pub head: Head,
    /// When.
    pub closed_at: Timestamp,
    /// The entry with which it began.
    pub opened: LeafRef,
    /// How it ended.
    #[serde(flatten)]
    pub end: CallEnd,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafRef {
    /// Entries before it.
    pub index: u64,
    /// SHA-256 over a zero byte and the entry (RFC 6962), in hexadecimal.
    pub leaf_hash: String,
}

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// In a word.
    pub outcome: Outcome,
    /// Which rule refused, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<RefusedBy>,
    /// What became of each choice; none are known of a call that crashed.
    pub choices: Vec<ChoiceEnd>,
    /// What became of the rules of each set.
    pub checks: Vec<Checks>,
    /// Where rules matched: the first of them.
    pub findings: Vec<Found>,
    /// How often rules matched.
    pub findings_total: u64,
    /// Checkpoints at which a rule set was evaluated.
    pub evaluations: u64,
    /// What was drawn again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resampling: Option<Resampling>,
    /// What it cost.
    pub usage: TokenCounts,
    /// Time in the gate, in microseconds.
    pub gate_us: u64,
}

impl CallEnd {
    /// The end of a call of which nothing else is known.
    #[must_use]
    pub fn unknown(outcome: Outcome) -> Self {
        Self {
            outcome,
            ..Self::default()
        }
    }

    /// The same in fewer words, for an entry that would be too long: rules that passed or did not
    /// run are counted, not listed, and of findings and of rules that found something the first are
    /// kept. Who refused, what was released and what it cost always stay.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.findings.truncate(LISTED_MAX);
        for checks in &mut self.checks {
            checks.pass_unlisted += drop_beyond(&mut checks.pass, 0);
            checks.not_run_unlisted += drop_beyond(&mut checks.not_run, 0);
            checks.fail_unlisted += drop_beyond(&mut checks.fail, LISTED_MAX);
            checks.fail_unlisted += drop_beyond(&mut checks.error, LISTED_MAX);
        }
        self
    }
}

/// What a shortened end lists of each kind.
const LISTED_MAX: usize = 8;

fn drop_beyond(rules: &mut Vec<String>, max: usize) -> u64 {
    let beyond = rules.len().saturating_sub(max);
    rules.truncate(max);
    beyond as u64
}

/// How a call ended.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every choice came to its end.
    Finished,
    /// The gate ended a choice, or refused the prompt.
    Refused,
    /// The server cut it off.
    Cancelled,
    /// Its reader went away.
    ClientGone,
    /// It could not be computed.
    #[default]
    EngineError,
    /// The process ended before the call did; written at the next start.
    Crashed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Finished,
        Self::Refused,
        Self::Cancelled,
        Self::ClientGone,
        Self::EngineError,
        Self::Crashed,
    ];

    /// The word in records, on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::ClientGone => "client_gone",
            Self::EngineError => "engine_error",
            Self::Crashed => "crashed",
        }
    }

    /// The outcome of this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which rule refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedBy {
    /// Name of the rule set.
    pub ruleset: String,
    /// Its version.
    pub version: u32,
    /// The rule; none if the rule set itself could not be evaluated.
    pub rule: Option<String>,
    /// Whether text had been released before.
    pub after_release: bool,
}

/// What became of one choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceEnd {
    /// As the client was told; none if it was not told.
    pub finish_reason: Option<String>,
    /// Digest of the released text, salted for `choice/0` and so on.
    pub output_commitment: String,
    /// Released text, in bytes.
    pub released_bytes: u64,
}

/// What became of the rules of one rule set: each by its id under its status, the worst over all
/// choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// Name of the rule set.
    pub ruleset: String,
    /// Its version.
    pub version: u32,
    /// On the prompt or on the completion.
    pub on: Side,
    /// Saw all that was released and found nothing.
    pub pass: Vec<String>,
    /// Found something.
    pub fail: Vec<String>,
    /// Could not be evaluated.
    pub error: Vec<String>,
    /// Did not see all that they are to judge.
    pub not_run: Vec<String>,
    /// Rules that passed and are not listed, because the entry would be too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pass_unlisted: u64,
    /// The same of rules that did not run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_run_unlisted: u64,
    /// The same of rules that found something or could not be evaluated: the first are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fail_unlisted: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The prompt.
    Input,
    /// The completion.
    Output,
}

/// Where a rule matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Name of the rule set.
    pub ruleset: String,
    /// Its version.
    pub version: u32,
    /// Id of the rule.
    pub rule: String,
    /// What was done about it.
    pub action: Action,
    /// Where.
    #[serde(flatten)]
    pub place: Matched,
}

/// Where a rule matched, in bytes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// Which text of the prompt, from 0; none for the completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u32>,
    /// Which choice, from 0; none for the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<u32>,
    /// First byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
    /// In which attempt, from 0. With a later one this text was thrown away.
    pub attempt: u32,
}

/// What was done about a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Noted; the rule set is only observed.
    Observe,
    /// Noted, and the caller told.
    Flag,
    /// Replaced.
    Redact,
    /// Thrown away and drawn again.
    Resample,
    /// Ended the choice, or refused the prompt.
    Reject,
}

/// What was drawn again, and what may be said about the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampling {
    /// Roll-backs, over all choices.
    pub attempts: u64,
    /// Whether a mask took refused continuations away, besides drawing anew.
    pub sampling_modified: bool,
    /// What may be claimed.
    pub claim: Claim,
}

/// How far the distribution of a resampled answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Some rule set that resamples has `scope: segment`.
    #[serde(
        rename = "given the released prefix and success within the allowed attempts, each segment \
                  is drawn from the sampler's distribution restricted to admissible segments"
    )]
    Segments,
    /// Every rule set that resamples has `scope: completion`.
    #[serde(
        rename = "given success within the allowed attempts, the completion is drawn from the \
                  sampler's distribution restricted to admissible completions"
    )]
    Completion,
}

/// What a call cost, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Of the prompts.
    pub prompt: u64,
    /// Of these, found in the prefix cache.
    pub cached: u64,
    /// Released.
    pub released: u64,
    /// Drawn and thrown away.
    pub discarded: u64,
}
