//! The law through roll-backs: what is left standing at the end is judged as what it is then.

use portcullis_gate::{BoundSet, Checkpoint, End, Gate, Quota, Verdict};

use super::{
    Broken, Case,
    choices::Choices,
    expect, is_redaction_of,
    oracle::{Text, redact, scan},
    run::sample,
    text::{Token, cut, text},
};

const TOKENS: usize = 12;
const ATTEMPTS_MAX: u32 = 5;

/// A completion whose tokens come from the next draft after each roll-back.
pub(super) fn check(case: &Case, choices: &mut Choices<'_>) -> Result<(), Broken> {
    let quota = Quota {
        attempts_max: ATTEMPTS_MAX,
        discarded_tokens_max: 40,
    };
    let enforced = case.enforced.iter().cloned().map(BoundSet::from);
    let sets: Vec<BoundSet> = enforced.chain(case.watching.iter().cloned()).collect();
    let gate = Gate::new(sets, quota);
    while !choices.is_empty() {
        let drafts = choices.many(4, 4, |choices| {
            let text = text(case.theme, choices);
            cut(&text, choices)
        });
        let end = choices.one_of(&[End::Natural, End::Cut]);
        let greedy = choices.sometimes(2);
        let written = write(&gate, greedy, &drafts, end)?;
        judge(case, &written, end).map_err(|broken| {
            let files: Vec<_> = case.enforced.iter().map(|set| super::source(set)).collect();
            format!("{broken}\n{written:?}\n{}", files.join("\n"))
        })?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Written {
    tokens: Vec<Token>,
    text: String,
    released: usize,
    attempts: usize,
    refused: bool,
}

fn write(gate: &Gate, greedy: bool, drafts: &[Vec<Token>], end: End) -> Result<Written, Broken> {
    let mut state = gate.begin(greedy);
    let mut written = Written::default();
    let mut drawn = 0;
    loop {
        let draft = &drafts[state.attempt() as usize % drafts.len()];
        let token = &draft[drawn % draft.len()];
        drawn += 1;
        written.tokens.push(token.clone());
        let ends = written.tokens.len() >= TOKENS;
        match state.check(Checkpoint {
            sample: sample(0, token),
            text: &token.text,
            end: ends.then_some(end),
        }) {
            Verdict::Continue(admitted) | Verdict::Stopped(admitted) => {
                written.text += admitted.text();
                written.released += admitted.num_tokens();
                if ends {
                    return Ok(written);
                }
            }
            Verdict::Resample { keep_tokens } => {
                written.attempts += 1;
                expect(keep_tokens == written.released, || {
                    format!(
                        "keeps {keep_tokens} of {} released tokens",
                        written.released
                    )
                })?;
                expect(written.attempts <= ATTEMPTS_MAX as usize, || {
                    "too many attempts".into()
                })?;
                written.tokens.truncate(keep_tokens);
            }
            Verdict::Reject(_) => {
                written.refused = true;
                return Ok(written);
            }
        }
    }
}

fn judge(case: &Case, written: &Written, end: End) -> Result<(), Broken> {
    if written.refused {
        return Ok(());
    }
    let raw: String = written
        .tokens
        .iter()
        .map(|token| token.text.as_str())
        .collect();
    let tokens = &written.tokens;
    let whole = scan(&case.rules, &Text { raw: &raw, tokens });
    expect(whole.refusals.is_empty(), || {
        format!("{:?} is out", whole.refusals)
    })?;
    let released: usize = tokens[..written.released]
        .iter()
        .map(|token| token.text.len())
        .sum();
    expect(end == End::Cut || written.released == tokens.len(), || {
        "not all is out".into()
    })?;
    let (expected, covered) = redact(&raw, released, &whole.redactions);
    // After a roll-back more may be replaced: what was is out as such, and what follows can change.
    let exact = written.attempts == 0 || case.holds_everything() && case.enforced.len() == 1;
    let drawn_again = written.attempts > 0;
    expect(!exact || drawn_again || written.text == expected, || {
        format!("expected {expected:?}")
    })?;
    expect(
        is_redaction_of(&written.text, &raw[..released], &covered),
        || "more is out than a redaction of it".into(),
    )
}
