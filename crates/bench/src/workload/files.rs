//! Prompts out of files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use rand::seq::SliceRandom;
use serde::Deserialize;

use super::words::{Composer, Ruler};
use super::{ORDER, count, lengths, stream};
use crate::error::BenchError;
use crate::plan::Plan;
use crate::target::{Ask, Prompt};

/// Conversations outside of these are left out, as `vllm bench serve` leaves them out.
const TOKENS_MIN: usize = 4;
const PROMPT_TOKENS_MAX: usize = 1024;
const TOTAL_TOKENS_MAX: usize = 2048;

#[derive(Debug, Deserialize)]
struct Conversation {
    #[serde(default)]
    conversations: Vec<Turn>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    value: String,
}

/// The first question of conversations, in random order, with as long an answer as was given.
pub(super) async fn sharegpt<R: Ruler>(
    plan: &Plan,
    composer: &Composer<'_, R>,
) -> Result<Vec<Ask>, BenchError> {
    let path = path(plan)?;
    let reader = BufReader::new(File::open(path).map_err(|error| unreadable(path, error))?);
    let wrong = |why: String| BenchError::Content {
        path: path.to_owned(),
        why,
    };
    let mut all: Vec<Conversation> = serde_json::from_reader(reader)
        .map_err(|error| wrong(format!("is no ShareGPT file: {error}")))?;
    all.shuffle(&mut stream(composer.seed, ORDER));
    let mut asks = Vec::new();
    for conversation in all {
        if asks.len() == count(plan) {
            break;
        }
        asks.extend(first_question(&conversation, plan, composer).await);
    }
    match asks.is_empty() {
        true => Err(wrong("has no conversation of a usable length".into())),
        false => Ok(asks),
    }
}

async fn first_question<R: Ruler>(
    conversation: &Conversation,
    plan: &Plan,
    composer: &Composer<'_, R>,
) -> Option<Ask> {
    let [question, answer, ..] = conversation.conversations.as_slice() else {
        return None;
    };
    let input_tokens = composer.tokens(&question.value).await;
    let output_tokens = match plan.output_len_given {
        true => plan.output_len,
        false => composer.tokens(&answer.value).await,
    };
    let is_usable = input_tokens.min(output_tokens) >= TOKENS_MIN
        && input_tokens <= PROMPT_TOKENS_MAX
        && input_tokens + output_tokens <= TOTAL_TOKENS_MAX;
    is_usable.then(|| Ask {
        prompt: Prompt::Text(question.value.clone()),
        input_tokens,
        output_tokens,
    })
}

/// Shuffled lines of a text, until a prompt is long enough.
pub(super) async fn sonnet<R: Ruler>(
    plan: &Plan,
    composer: &Composer<'_, R>,
) -> Result<Vec<Ask>, BenchError> {
    let path = path(plan)?;
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        lines.push((line, composer.tokens(line).await + 1));
    }
    if lines.is_empty() {
        return Err(BenchError::Content {
            path: path.to_owned(),
            why: "has no lines".into(),
        });
    }
    let mut rng = stream(composer.seed, ORDER);
    let asks = lengths(plan, composer.seed).map(|(input_tokens, output_tokens)| {
        lines.shuffle(&mut rng);
        Ask {
            prompt: Prompt::Text(poem(&lines, input_tokens)),
            input_tokens,
            output_tokens,
        }
    });
    Ok(asks.collect())
}

/// So many lines as have about that many tokens, over again if there are not enough.
fn poem(lines: &[(&str, usize)], tokens: usize) -> String {
    const ASK: &str = "Pick as many lines as you can from these poem lines:";
    let mut prompt = ASK.to_owned();
    let mut left = tokens.saturating_sub(ASK.split(' ').count());
    for (line, cost) in lines.iter().cycle() {
        if left < *cost {
            return prompt;
        }
        left -= cost;
        prompt.push('\n');
        prompt.push_str(line);
    }
    prompt
}

pub(super) fn path(plan: &Plan) -> Result<&Path, BenchError> {
    let missing = || BenchError::Usage("this dataset needs --dataset-path".into());
    plan.dataset_path.as_deref().ok_or_else(missing)
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> BenchError {
    BenchError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Workload;
    use super::super::tests::{Letters, plan, text};
    use super::*;
    use crate::args::{Dataset, WorkloadArgs};

    async fn build(dataset: Dataset, content: &str) -> Result<Workload, BenchError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let args = WorkloadArgs {
            dataset: Some(dataset),
            dataset_path: Some(file.path().to_owned()),
            num_prompts: Some(5),
            input_len: Some(40),
            ..WorkloadArgs::default()
        };
        Workload::build(&plan(args), &Letters, 0).await
    }

    #[tokio::test]
    async fn conversations_give_their_first_question_and_the_length_of_its_answer() {
        let file = r#"[
            {"id": "1", "conversations": [
                {"from": "human", "value": "one two cat dog"},
                {"from": "gpt", "value": "an answer of six short words"}]},
            {"id": "short", "conversations": [
                {"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]},
            {"id": "alone", "conversations": [{"from": "human", "value": "one two cat dog"}]},
            {"id": "odd"}
        ]"#;
        let workload = build(Dataset::Sharegpt, file).await.unwrap();
        assert_eq!(workload.asks.len(), 1);
        let ask = &workload.asks[0];
        assert_eq!(text(ask), "one two cat dog");
        assert_eq!((ask.input_tokens, ask.output_tokens), (4, 9));
    }

    #[tokio::test]
    async fn lines_fill_a_prompt_up_to_its_length() {
        let workload = build(
            Dataset::Sonnet,
            "the cat sat\n\non the old mat\nby the sea\n",
        )
        .await
        .unwrap();
        assert_eq!(workload.asks.len(), 5);
        for ask in &workload.asks {
            let counted = Letters.count_plain(text(ask)).await.unwrap();
            assert!((30..=44).contains(&counted), "{counted}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_none_is_named() {
        for (dataset, content) in [
            (Dataset::Sharegpt, "{}"),
            (Dataset::Sharegpt, "[]"),
            (Dataset::Sonnet, "\n"),
            (Dataset::Trace, "nonsense"),
        ] {
            let error = build(dataset, content).await.unwrap_err();
            assert!(matches!(error, BenchError::Content { .. }), "{error}");
        }
    }
}
