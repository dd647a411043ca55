//! Models by name, against a hub of our own on the loopback interface.
#![expect(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod server;

use std::path::Path;

use portcullis_models::{HubOptions, fetch, fetch_encoder};
use server::{FIRST_COMMIT, Hub, SECOND_COMMIT};

const NAME: &str = "acme/tiny";
const LAST_SHARD: &str = "model-00002-of-00002.safetensors";

#[test]
fn a_name_becomes_a_folder_of_what_serving_takes() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let dir = fetch(NAME, &options(&hub, home.path())).unwrap();
    let expected = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&dir), expected);
    assert!(dir.starts_with(home.path().join("hub/models--acme--tiny/snapshots")));
    let weights = std::fs::read(dir.join(LAST_SHARD)).unwrap();
    assert_eq!(weights, hub.content(LAST_SHARD));
    let gets = hub.requests("GET");
    assert!(
        gets.iter()
            .all(|request| !request.path.contains("consolidated")
                && !request.path.contains("pytorch_model")
                && !request.path.contains("onnx"))
    );
}

#[test]
fn an_embedding_model_comes_with_what_pools_it() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let dir = fetch_encoder(NAME, &options(&hub, home.path())).unwrap();
    let expected = [
        "1_Pooling",
        "config.json",
        "config_sentence_transformers.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&dir), expected);
    assert_eq!(names(&dir.join("1_Pooling")), ["config.json"]);
}

#[test]
fn the_token_goes_with_every_request() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    fetch(NAME, &options(&hub, home.path())).unwrap();
    let requests = [hub.requests("GET"), hub.requests("HEAD")].concat();
    assert!(requests.len() > 10);
    for request in requests {
        assert_eq!(
            request.authorization.as_deref(),
            Some("Bearer hf_secret"),
            "{}",
            request.path
        );
    }
}

#[test]
fn a_revision_is_its_own_folder() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let of = |revision: Option<&str>| {
        let options = HubOptions {
            revision: revision.map(str::to_owned),
            ..options(&hub, home.path())
        };
        let dir = fetch(NAME, &options).unwrap();
        dir.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(of(None), FIRST_COMMIT);
    assert_eq!(of(Some("v2")), SECOND_COMMIT);
    assert_eq!(of(Some(FIRST_COMMIT)), FIRST_COMMIT);
}

#[test]
fn offline_the_cache_must_do() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let online = options(&hub, home.path());
    let dir = fetch(NAME, &online).unwrap();
    let before = hub.requests("GET").len() + hub.requests("HEAD").len();
    let offline = HubOptions {
        is_offline: true,
        ..online
    };
    assert_eq!(fetch(NAME, &offline).unwrap(), dir);
    let other = HubOptions {
        revision: Some("v2".into()),
        ..offline
    };
    let message = fetch(NAME, &other).unwrap_err().to_string();
    let cache = home.path().join("hub");
    assert_eq!(
        message,
        format!(
            "acme/tiny: revision v2 is not in the cache {}; fetch it once while not offline",
            cache.display()
        )
    );
    assert_eq!(
        before,
        hub.requests("GET").len() + hub.requests("HEAD").len()
    );
}

#[test]
fn a_hub_that_is_gone_is_not_missed_once_fetched() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let options = options(&hub, home.path());
    let dir = fetch(NAME, &options).unwrap();
    drop(hub);
    assert_eq!(fetch(NAME, &options).unwrap(), dir);
    let message = fetch("acme/other", &options).unwrap_err().to_string();
    assert!(
        message.starts_with("acme/other: http://127.0.0.1:"),
        "{message}"
    );
    assert!(message.contains("could not give it"), "{message}");
}

#[test]
fn a_broken_download_goes_on_with_the_files_that_are_left() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let options = options(&hub, home.path());
    hub.break_off(LAST_SHARD);
    fetch(NAME, &options).unwrap_err();
    let cache = home.path().join("hub/models--acme--tiny");
    assert!(!cache.join("refs/main").exists(), "it would pass for whole");
    let blobs = names(&cache.join("blobs"));
    let finished: Vec<_> = blobs
        .iter()
        .filter(|b| !b.ends_with(".incomplete"))
        .collect();
    assert!(!finished.is_empty());

    hub.mend();
    let dir = fetch(NAME, &options).unwrap();
    let weights = std::fs::read(dir.join(LAST_SHARD)).unwrap();
    assert_eq!(weights, hub.content(LAST_SHARD));
    for file in finished {
        let end = format!("/{file}");
        let gets = hub.requests("GET");
        assert_eq!(
            gets.iter().filter(|r| r.path.ends_with(&end)).count(),
            1,
            "{file}"
        );
    }
}

#[test]
fn what_cannot_be_had_is_explained() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    let options = options(&hub, home.path());
    let endpoint = hub.address();
    let cases = [
        (
            "acme/unknown",
            format!(
                "acme/unknown: {endpoint} has no such model at revision main, or it needs a token \
                 with access to it: set HF_TOKEN"
            ),
        ),
        (
            "acme/private",
            format!(
                "acme/private: {endpoint} has no such model, or it needs a token with access to \
                 it: set HF_TOKEN"
            ),
        ),
        (
            "acme/gated",
            format!(
                "acme/gated: the token has no access: accept the model's terms on \
                 {endpoint}/acme/gated"
            ),
        ),
    ];
    for (name, expected) in cases {
        assert_eq!(fetch(name, &options).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_name_is_org_and_name() {
    for name in [
        "tiny",
        "acme/",
        "/tiny",
        "acme/tiny/more",
        "../tiny",
        "acme/..",
        "acme/ti ny",
    ] {
        let message = fetch(name, &HubOptions::default()).unwrap_err().to_string();
        let expected = "neither a folder nor a name on the hub, which is org/name";
        assert_eq!(message, format!("{name}: {expected}"));
    }
}

fn options(hub: &Hub, home: &Path) -> HubOptions {
    HubOptions {
        endpoint: Some(hub.address()),
        token: Some("hf_secret".into()),
        home: Some(home.into()),
        shows_progress: true,
        ..HubOptions::default()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
