//! The record of a call under way: opened when the call begins, durable before anything is
//! released, closed with what became of it.

use std::sync::Arc;

use axum::body::Bytes;
use portcullis_gate::{Admitted, Gate};
use portcullis_ledger::{
    Call, CallEnd, ChoiceEnd, Commitment, ModelDigests, NewCall, OpenRecord, Outcome, RecordId,
    Recorder, RuleSetUsed, Salt, SamplingUsed, Started, Timestamp, TokenCounts, Unrecorded,
    plain_digest,
};
use portcullis_store::{KeptText, KeyId, Records, TextClass};
use portcullis_types::{SamplingParams, Tenant, TokenId};

use crate::error::ApiError;
use crate::rules::RuleSigners;
use crate::state::App;
use crate::tally::Tally;

/// What calls are recorded with.
pub struct Ledger {
    /// Writes the log.
    pub recorder: Recorder,
    /// Reads it, and keeps texts beside it.
    pub records: Arc<dyn Records>,
    /// What the server says of itself in each record.
    pub about: Started,
    /// Which texts are kept beside the log.
    pub texts: TextPolicy,
    /// What tokens cost, for `/v1/usage`.
    pub prices: Prices,
}

/// Which texts are kept beside the log; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextPolicy {
    /// What clients send.
    pub requests: bool,
    /// What is released.
    pub outputs: bool,
    /// How long: classes by name. The first is that of calls which name none.
    pub classes: Vec<TextClass>,
}

/// What a million tokens cost, in whatever currency the operator thinks; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prices {
    /// Tokens of prompts that had to be computed.
    pub prompt: f64,
    /// Tokens of prompts that were found in the prefix cache.
    pub cached: f64,
    /// Tokens that were released.
    pub released: f64,
    /// Tokens that were drawn and thrown away.
    pub discarded: f64,
}

impl Prices {
    /// What so many tokens cost.
    pub(crate) fn of(&self, tokens: &TokenCounts) -> f64 {
        let computed = tokens.prompt.saturating_sub(tokens.cached);
        let per_million = self.prompt * computed as f64
            + self.cached * tokens.cached as f64
            + self.released * tokens.released as f64
            + self.discarded * tokens.discarded as f64;
        per_million / 1e6
    }
}

/// What is known of a call before it begins.
pub(crate) struct Facts {
    /// None where the client chose it.
    pub(crate) request_id: Option<String>,
    pub(crate) endpoint: &'static str,
    pub(crate) tenant: Tenant,
    pub(crate) key: Option<KeyId>,
    pub(crate) rulesets: Vec<RuleSetUsed>,
    /// What the client sent.
    pub(crate) body: Bytes,
    /// What the model reads; none if a rule refused it.
    pub(crate) prompts: Option<Vec<Vec<TokenId>>>,
    pub(crate) sampling: SamplingUsed,
    pub(crate) choices: u32,
    pub(crate) stream: bool,
    /// How long its text is to be kept, if the caller says.
    pub(crate) retention: Option<String>,
    /// The model, where it is another than the one that answers.
    pub(crate) model: Option<OtherModel>,
}

/// A model beside the one that answers.
pub(crate) struct OtherModel {
    pub(crate) deployment: String,
    pub(crate) digests: ModelDigests,
}

/// The record of a call under way.
pub(crate) struct CallRecord {
    app: App,
    open: OpenRecord,
    salt: Salt,
    /// Whether text leaves as it is admitted.
    stream: bool,
    choices: Vec<Released>,
    /// The choice that ended last, as far as the reader is about to learn.
    last_ended: Option<usize>,
    kept: Option<KeptText>,
}

/// What was released of a choice.
#[derive(Clone)]
struct Released {
    commitment: Commitment,
    bytes: u64,
    tokens: u64,
    finish_reason: Option<&'static str>,
}

impl CallRecord {
    /// Hands the beginning of a call to the log; `None` where nothing is recorded.
    ///
    /// # Errors
    /// 503: it cannot be recorded, so it must not be answered.
    pub(crate) fn open(app: &App, facts: &Facts) -> Result<Option<Self>, ApiError> {
        let Some(ledger) = &app.ledger else {
            return Ok(None);
        };
        let no_randomness = |error| {
            tracing::error!(%error, "no random bytes for a record");
            ApiError::internal("the server has no randomness for a record")
        };
        let salt = Salt::draw().map_err(no_randomness)?;
        let id = RecordId::draw().map_err(no_randomness)?;
        let retention = ledger.texts.class_of(facts);
        let new = NewCall {
            record_id: id.clone(),
            key: facts.key.as_ref().map(KeyId::to_string),
            key_id_hash: facts
                .key
                .as_ref()
                .map(|key| plain_digest(key.as_str().as_bytes())),
            salt,
            call: facts.call(&ledger.about, &salt, retention.clone()),
        };
        let kept = retention.map(|class| ledger.texts.begin(id, class, facts, app));
        Ok(Some(Self {
            open: ledger.recorder.open(new)?,
            app: Arc::clone(app),
            salt,
            stream: facts.stream,
            choices: nothing(&salt, facts.choices as usize),
            last_ended: None,
            kept,
        }))
    }

    pub(crate) fn id(&self) -> &RecordId {
        self.open.id()
    }

    /// Waits until the beginning of the call is on disk. Nothing may be released before.
    ///
    /// # Errors
    /// 503.
    pub(crate) async fn durable(&mut self) -> Result<(), ApiError> {
        Ok(self.open.durable().await?)
    }

    /// Text is about to be released.
    pub(crate) fn note_text(&mut self, choice: usize, admitted: &Admitted) {
        let text = admitted.text();
        let released = &mut self.choices[choice];
        released.commitment.update(text.as_bytes());
        released.bytes += text.len() as u64;
        released.tokens += admitted.num_tokens() as u64;
        if let Some(KeptText { outputs, .. }) = &mut self.kept
            && let Some(output) = outputs.get_mut(choice)
        {
            output.push_str(text);
        }
    }

    /// The reader is about to learn how a choice ended.
    pub(crate) fn note_end(&mut self, choice: usize, reason: &'static str) {
        self.choices[choice].finish_reason = Some(reason);
        self.last_ended = Some(choice);
    }

    /// Puts the end of the call on record and waits until it is there: only then may its reader
    /// learn of it, or, where the answer is one body, of anything.
    ///
    /// # Errors
    /// It is not there. What is owed then says that the reader did not learn it.
    pub(crate) async fn close(mut self, outcome: Outcome, tally: &Tally) -> Result<(), Unrecorded> {
        self.open.durable().await?;
        let untold = self.untold();
        let end = CallEnd {
            choices: ends(&self.choices),
            ..tally.call_end(outcome, self.choices.len())
        };
        let if_late = move |end: CallEnd| CallEnd {
            outcome: match end.outcome {
                Outcome::Finished => Outcome::Cancelled,
                other => other,
            },
            choices: ends(&untold),
            ..not_all_read(end, &untold)
        };
        let closed = self.open.close_or(end, if_late).durable().await;
        if closed.is_ok() || self.stream {
            keep(&self.app, self.kept);
        }
        closed
    }

    /// What the reader has seen if it is not told the end.
    fn untold(&self) -> Vec<Released> {
        let mut untold = match self.stream {
            true => self.choices.clone(),
            false => nothing(&self.salt, self.choices.len()),
        };
        if let Some(last) = self.last_ended {
            untold[last].finish_reason = None;
        }
        untold
    }

    /// Puts on record that the reader did not get the whole answer. Of an answer that is one body
    /// that means nothing.
    pub(crate) async fn abandon(
        mut self,
        outcome: Outcome,
        tally: &Tally,
    ) -> Result<(), Unrecorded> {
        self.open.durable().await?;
        if self.stream {
            keep(&self.app, self.kept);
        } else {
            self.choices = nothing(&self.salt, self.choices.len());
        }
        let end = tally.call_end(outcome, self.choices.len());
        let end = CallEnd {
            choices: ends(&self.choices),
            ..not_all_read(end, &self.choices)
        };
        self.open.close(end).durable().await
    }
}

/// So many choices of which nothing is released.
fn nothing(salt: &Salt, choices: usize) -> Vec<Released> {
    let of_choice = |number: usize| Released {
        commitment: salt.of(&format!("choice/{number}")).begin(),
        bytes: 0,
        tokens: 0,
        finish_reason: None,
    };
    (0..choices).map(of_choice).collect()
}

fn ends(choices: &[Released]) -> Vec<ChoiceEnd> {
    choices.iter().cloned().map(Released::end).collect()
}

/// What was admitted and never read is thrown away like what was never admitted.
fn not_all_read(mut end: CallEnd, choices: &[Released]) -> CallEnd {
    let read: u64 = choices.iter().map(|choice| choice.tokens).sum();
    let unread = end.usage.released.saturating_sub(read);
    end.usage.released -= unread;
    end.usage.discarded += unread;
    end
}

impl Released {
    fn end(self) -> ChoiceEnd {
        ChoiceEnd {
            finish_reason: self.finish_reason.map(str::to_owned),
            output_commitment: self.commitment.finish(),
            released_bytes: self.bytes,
        }
    }
}

/// Keeps a text if texts are kept. A text that cannot be kept is told in the log: it is no part of
/// the record.
fn keep(app: &App, kept: Option<KeptText>) {
    let (Some(kept), app) = (kept, Arc::clone(app)) else {
        return;
    };
    tokio::spawn(async move {
        if let Some(ledger) = &app.ledger
            && let Err(error) = ledger.records.keep_text(kept).await
        {
            tracing::error!(%error, "the text of a call could not be kept");
        }
    });
}

impl TextPolicy {
    /// The class of a call, if its text is kept.
    fn class_of(&self, facts: &Facts) -> Option<String> {
        let keeps = self.requests || self.outputs;
        let first = self.classes.first().map(|class| class.name.clone());
        keeps.then(|| facts.retention.clone().or(first)).flatten()
    }

    fn begin(&self, id: RecordId, class: String, facts: &Facts, app: &App) -> KeptText {
        let choices = if self.outputs { facts.choices } else { 0 };
        KeptText {
            id,
            class,
            opened_at: Timestamp::from_unix_ms((app.wall)() * 1000),
            request: self.requests.then(|| facts.body.to_vec()),
            outputs: vec![String::new(); choices as usize],
        }
    }
}

impl Facts {
    fn call(&self, about: &Started, salt: &Salt, retention: Option<String>) -> Call {
        let (deployment, digests) = match &self.model {
            Some(other) => (&other.deployment, &other.digests),
            None => (&about.deployment, &about.digests),
        };
        Call {
            request_id: self.request_id.clone(),
            endpoint: self.endpoint.to_owned(),
            tenant: self.key.is_some().then(|| hex::encode(self.tenant.0)),
            deployment: deployment.clone(),
            digests: digests.clone(),
            engine_build: about.engine_build.clone(),
            rulesets: self.rulesets.clone(),
            sampling: self.sampling.clone(),
            choices: self.choices,
            stream: self.stream,
            request_commitment: salt.of("request").commit(&self.body),
            prompt_commitments: self.commit_prompts(salt),
            retention,
        }
    }

    fn commit_prompts(&self, salt: &Salt) -> Vec<String> {
        let prompts = self.prompts.iter().flatten().enumerate();
        let commitments = prompts.map(|(number, tokens)| {
            let mut commitment = salt.of(&format!("prompt/{number}")).begin();
            for token in tokens {
                commitment.update(&token.to_le_bytes());
            }
            commitment.finish()
        });
        commitments.collect()
    }
}

impl From<Unrecorded> for ApiError {
    fn from(error: Unrecorded) -> Self {
        let message = format!("{error}; nothing is answered without a record");
        match error {
            // Trying again would not help.
            Unrecorded::TooLong => Self::bad_request(message).with_code("record_too_long"),
            _ => Self::unavailable("unrecorded", message),
        }
    }
}

/// The class that a call names for its text.
///
/// # Errors
/// 400: there is no such class here.
pub(crate) fn retention(app: &App, named: Option<&String>) -> Result<Option<String>, ApiError> {
    let Some(named) = named else {
        return Ok(None);
    };
    let ledger = app.ledger.as_ref();
    let classes = ledger.map_or(&[][..], |ledger| &ledger.texts.classes);
    if classes.iter().any(|class| class.name == *named) {
        return Ok(Some(named.clone()));
    }
    let names: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
    let said = match names.is_empty() {
        true => "no texts are kept here, so there are no classes".to_owned(),
        false => format!("is no class here; there are {}", names.join(", ")),
    };
    Err(ApiError::invalid("admissibility.retention", said))
}

/// Every rule set of a gate, in the words of a record.
pub(crate) fn rulesets_used(gate: &Gate, signers: &RuleSigners) -> Vec<RuleSetUsed> {
    let used = gate.sets().iter().map(|bound| RuleSetUsed {
        name: bound.set().name().to_owned(),
        version: bound.set().version(),
        digest: bound.set().digest().to_owned(),
        mode: bound.mode().as_str().to_owned(),
        signers: signers.of(bound.set().digest()).to_vec(),
    });
    used.collect()
}

/// How tokens are drawn, in the words of a record.
pub(crate) fn sampling_used(sampling: &SamplingParams, seeds: &[u64]) -> SamplingUsed {
    SamplingUsed {
        seeds: seeds.iter().map(u64::to_string).collect(),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        repetition_penalty: sampling.repetition_penalty,
    }
}
