//! Precedence, and mistakes word by word.

use std::path::Path;

use super::setting::Setting;
use super::*;

const HOME: (&str, &str) = ("HOME", "/home/ada");

fn flags(given: &[(Setting, &str)]) -> Flags {
    Flags {
        file: None,
        settings: given
            .iter()
            .map(|(setting, text)| (*setting, (*text).to_owned()))
            .collect(),
    }
}

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.toml");
    std::fs::write(&path, text).unwrap();
    (
        dir,
        Flags {
            file: Some(path),
            settings: Vec::new(),
        },
    )
}

/// The mistakes of a file, without the folder it lies in.
fn mistakes_of(text: &str) -> String {
    let (dir, flags) = file(text);
    let mistakes = Config::load(&flags, &[HOME].into())
        .unwrap_err()
        .to_string();
    mistakes.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn nothing_given_is_the_demo_on_loopback() {
    let config = Config::load(&Flags::default(), &[HOME].into()).unwrap();
    assert_eq!(config.model.name, None);
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:8000");
    assert_eq!(
        config.data_dir,
        Path::new("/home/ada/.local/share/portcullis")
    );
    assert_eq!(
        config.log,
        LogConfig {
            format: LogFormat::Text,
            filter: "info".into(),
            otlp_endpoint: None,
        }
    );
    assert!(config.engine.max_num_seqs > 0 && config.engine.kv_cache_bytes.is_none());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let (_dir, mut flags) = file("max_num_seqs = 1\nmax_waiting = 1\nmax_batched_tokens = 7\n");
    flags.settings = vec![(setting::MAX_NUM_SEQS, "3".into())];
    let environment = [
        HOME,
        ("PORTCULLIS_MAX_NUM_SEQS", "2"),
        ("PORTCULLIS_MAX_WAITING", "2"),
    ]
    .into();
    let engine = Config::load(&flags, &environment).unwrap().engine;
    assert_eq!(
        (
            engine.max_num_seqs,
            engine.max_waiting,
            engine.max_batched_tokens
        ),
        (3, 2, 7)
    );
}

#[test]
fn our_variable_beats_the_one_of_other_tools() {
    let endpoint = |environment: &[(&str, &str); 2]| {
        let environment = [HOME, environment[0], environment[1]].into();
        Config::load(&Flags::default(), &environment)
            .unwrap()
            .hub
            .endpoint
    };
    let theirs = ("HF_ENDPOINT", "https://mirror.example/");
    assert_eq!(
        endpoint(&[theirs, ("UNRELATED", "1")]).as_deref(),
        Some("https://mirror.example")
    );
    let ours = ("PORTCULLIS_HUB_ENDPOINT", "https://ours.example");
    assert_eq!(
        endpoint(&[theirs, ours]).as_deref(),
        Some("https://ours.example")
    );
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let (_dir, flags) = file("bind = \"0.0.0.0:9\"");
    let path = flags.file.unwrap();
    let environment = [HOME, ("PORTCULLIS_CONFIG", path.to_str().unwrap())].into();
    let config = Config::load(&Flags::default(), &environment).unwrap();
    assert_eq!(config.server.bind.to_string(), "0.0.0.0:9");
}

#[test]
fn every_kind_of_value_is_read() {
    let (_dir, flags) = file(
        "model = \"org/name\"\ndtype = \"bf16\"\nload_format = \"dummy\"\nmax_model_len = 0x800\n\
         kv_cache_memory = \"4GiB\"\ndrain_timeout = \"2m\"\nhub_offline = true\nlog_format = \"json\"\n\
         cuda_graphs = true\n",
    );
    let config = Config::load(&flags, &[HOME].into()).unwrap();
    assert_eq!(config.model.name.as_deref(), Some("org/name"));
    assert_eq!(config.model.dtype, Dtype::Bf16);
    assert_eq!(config.model.load_format, LoadFormat::Dummy);
    assert_eq!(config.engine.max_model_len, Some(2048));
    assert_eq!(config.engine.kv_cache_bytes, Some(4 << 30));
    assert!(config.engine.cuda_graphs);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(120));
    assert!(config.hub.is_offline);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_source() {
    let (dir, mut given) = file("max_num_seq = 3\ndtype = \"int4\"\n[engine]\nx = 1\n");
    given.settings =
        flags(&[(setting::BIND, "localhost"), (setting::MAX_MODEL_LEN, "-1")]).settings;
    let environment = [
        HOME,
        ("PORTCULLIS_KV_CACHE_MEMORY", "much"),
        ("HF_HUB_OFFLINE", "perhaps"),
    ];
    let mistakes = Config::load(&given, &environment.into())
        .unwrap_err()
        .to_string();
    let mistakes = mistakes.replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(
        mistakes,
        "the configuration has 7 mistakes\n  \
         portcullis.toml:1: max_num_seq: unknown setting; did you mean max_num_seqs?\n  \
         portcullis.toml:3: engine: unknown setting\n  \
         portcullis.toml:2: dtype \"int4\": must be f32, bf16 or f16\n  \
         --max-model-len \"-1\": must be a whole number from 2 to 16777216\n  \
         PORTCULLIS_KV_CACHE_MEMORY \"much\": must be an amount of memory, such as 4GiB or 512MB\n  \
         --bind \"localhost\": must be an IP address with a port, such as 127.0.0.1:8000\n  \
         HF_HUB_OFFLINE \"perhaps\": must be true or false"
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_says_so() {
    let load = |device| Config::load(&flags(&[(setting::DEVICE, device)]), &[HOME].into());
    assert_eq!(load("cpu").unwrap().model.device, DeviceChoice::Cpu);
    let refused = |device| load(device).unwrap_err().to_string();
    assert!(
        refused("cuda:1").ends_with("this build knows no cards; build it with --features cuda")
    );
    assert!(refused("cuda:x").ends_with("N being the number of a card"));
}

#[test]
fn no_more_sequences_than_tokens_in_a_step() {
    let batched = (setting::MAX_BATCHED_TOKENS, "32");
    let config = Config::load(&flags(&[batched]), &[HOME].into()).unwrap();
    assert_eq!(config.engine.max_num_seqs, 32, "the default gives way");
    let both = flags(&[batched, (setting::MAX_NUM_SEQS, "33")]);
    let mistakes = Config::load(&both, &[HOME].into()).unwrap_err().to_string();
    assert!(
        mistakes
            .ends_with("--max-num-seqs \"33\": must be at most max_batched_tokens, which is 32"),
        "{mistakes}"
    );
}

#[test]
fn a_shadowed_mistake_is_none() {
    let (_dir, mut given) = file("dtype = \"int4\"");
    given.settings = flags(&[(setting::DTYPE, "f32")]).settings;
    assert_eq!(
        Config::load(&given, &[HOME].into()).unwrap().model.dtype,
        Dtype::F32
    );
}

#[test]
fn a_file_with_bad_syntax_is_told_by_line() {
    let mistakes = mistakes_of("bind = \"127.0.0.1:1\"\ndtype = \n");
    assert!(
        mistakes.starts_with("the configuration has a mistake\n  portcullis.toml:2: "),
        "{mistakes}"
    );
}

#[test]
fn a_file_that_is_not_there_is_told_by_name() {
    let given = Flags {
        file: Some("/nowhere/p.toml".into()),
        settings: Vec::new(),
    };
    let mistakes = Config::load(&given, &[HOME].into())
        .unwrap_err()
        .to_string();
    assert!(
        mistakes.contains("/nowhere/p.toml: cannot be read: No such file"),
        "{mistakes}"
    );
}

#[test]
fn a_list_where_one_value_belongs_is_a_mistake() {
    let mistakes = mistakes_of("model = [\"a\", \"b\"]");
    assert!(
        mistakes.ends_with("portcullis.toml:1: model: must be one value, not array"),
        "{mistakes}"
    );
}

#[test]
fn no_home_means_that_the_data_directory_must_be_said() {
    let mistakes = Config::load(&Flags::default(), &[].into())
        .unwrap_err()
        .to_string();
    assert!(
        mistakes.contains("--data-dir: there is no HOME to keep data in"),
        "{mistakes}"
    );
}

#[test]
fn secrets_are_neither_printed_in_mistakes_nor_in_debug_output() {
    let environment = [HOME, ("HF_TOKEN", "  ")].into();
    let mistakes = Config::load(&Flags::default(), &environment)
        .unwrap_err()
        .to_string();
    assert!(
        mistakes.ends_with("HF_TOKEN: must not be empty"),
        "{mistakes}"
    );
    let environment = [HOME, ("HF_TOKEN", "hf_verysecret")].into();
    let config = Config::load(&Flags::default(), &environment).unwrap();
    assert_eq!(config.hub.token.as_deref(), Some("hf_verysecret"));
    assert!(!format!("{config:?}").contains("verysecret"));
}

#[test]
fn misspelt_variables_are_noticed_and_those_of_kubernetes_are_not() {
    let environment = [
        ("PORTCULLIS_MAX_NUM_SEQ", "3"),
        ("PORTCULLIS_API_KEY", "pk"),
        ("PORTCULLIS_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
    ];
    assert_eq!(
        misspelt_variables(&environment.into()),
        [(
            "PORTCULLIS_MAX_NUM_SEQ".to_owned(),
            "PORTCULLIS_MAX_NUM_SEQS".to_owned()
        )]
    );
}

#[test]
fn durations_need_their_unit() {
    let check = |text: &str, expect: Option<u64>| {
        assert_eq!(
            parse::duration(text).ok(),
            expect.map(Duration::from_millis),
            "{text}"
        );
    };
    check("1500ms", Some(1500));
    check("30s", Some(30_000));
    check("2m", Some(120_000));
    check("1h", Some(3_600_000));
    for bad in ["30", "s", "", "-1s", "1.5s", "1d", "99999999999999999999s"] {
        check(bad, None);
    }
}

#[test]
fn budgets_may_be_off_and_unsigned_sets_only_allowed_by_name() {
    let load = |given: &[(Setting, &str)]| Config::load(&flags(given), &[HOME].into());
    let default = load(&[]).unwrap();
    assert_eq!(default.rule_signatures, RuleSignatures::Author);
    assert!(default.key_quota.attempts_per_minute.is_some());
    let config = load(&[
        (setting::GATE_KEY_ATTEMPTS, "off"),
        (setting::GATE_KEY_DISCARDED_TOKENS, "0"),
        (setting::RULE_SIGNATURES, "allow_unsigned"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.key_quota.attempts_per_minute, None);
    assert_eq!(config.key_quota.discarded_tokens_per_minute, Some(0));
    assert_eq!(config.rule_signatures, RuleSignatures::AllowUnsigned);
    for (setting, text, allowed) in [
        (
            setting::RULE_SIGNATURES,
            "none",
            "author, author_and_approver or allow_unsigned",
        ),
        (setting::GATE_KEY_ATTEMPTS, "much", "or off"),
    ] {
        let mistakes = load(&[(setting, text)]).unwrap_err().to_string();
        assert!(mistakes.contains(allowed), "{mistakes}");
    }
}

#[test]
fn an_embedding_model_may_have_a_name() {
    let check = |text: &str, name: &str, deployment: Option<&str>| {
        let given = flags(&[(setting::EMBEDDING_MODEL, text)]);
        let config = Config::load(&given, &[HOME].into()).unwrap();
        let expect = EmbeddingConfig {
            name: name.to_owned(),
            deployment: deployment.map(|name| name.parse().unwrap()),
        };
        assert_eq!(config.embedding, Some(expect));
    };
    check("acme/encoder", "acme/encoder", None);
    check("acme/encoder=small", "acme/encoder", Some("small"));
    check("./a=b/c=small", "./a=b/c", Some("small"));
    for wrong in ["", "=small", "acme/encoder="] {
        let given = flags(&[(setting::EMBEDDING_MODEL, wrong)]);
        assert!(Config::load(&given, &[HOME].into()).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_list_may_be_given_in_several_ways() {
    let cors = |flags: &Flags, environment: Environment| {
        Config::load(flags, &environment).unwrap().server.cors
    };
    let expect: Cors = "https://a.example,https://b.example".parse().unwrap();
    let (_dir, array) = file("cors_origin = [\"https://a.example\", \"https://b.example\"]");
    assert_eq!(cors(&array, [HOME].into()), expect);
    let variable = (
        "PORTCULLIS_CORS_ORIGIN",
        "https://a.example, https://b.example",
    );
    assert_eq!(cors(&Flags::default(), [HOME, variable].into()), expect);
    assert_eq!(cors(&Flags::default(), [HOME].into()), Cors::Off);
    let given = mistakes_of("cors_origin = \"app.example\"\nbind = [\"127.0.0.1:1\"]");
    assert!(
        given.contains("cors_origin \"app.example\": must be origins, such as"),
        "{given}"
    );
    assert!(
        given.contains("bind: must be one value, not array"),
        "{given}"
    );
}

#[test]
fn a_certificate_comes_with_its_key() {
    let tls = |given: &[(Setting, &str)]| {
        let config = Config::load(&flags(given), &[HOME].into());
        config.map(|config| config.server.tls)
    };
    let (cert, key) = ((setting::TLS_CERT, "c.pem"), (setting::TLS_KEY, "k.pem"));
    let both = TlsFiles {
        cert: "c.pem".into(),
        key: "k.pem".into(),
    };
    assert_eq!(tls(&[cert, key]), Ok(Some(both)));
    assert_eq!(tls(&[]), Ok(None));
    let mistakes = tls(&[cert]).unwrap_err().to_string();
    assert!(
        mistakes.contains("--tls-key: a certificate is of no use without its key"),
        "{mistakes}"
    );
    let mistakes = tls(&[key]).unwrap_err().to_string();
    assert!(
        mistakes.contains("--tls-cert: a key is of no use without its certificate"),
        "{mistakes}"
    );
}
