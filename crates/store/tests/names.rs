//! Names from outside: what is let in.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fmt::Debug;
use std::str::FromStr;

use portcullis_store::{DeploymentName, KeyId, KeyName, NameError, Role, RuleSetName};

#[test]
fn rule_set_names() {
    let longest = "a".repeat(64);
    accepts::<RuleSetName>(&["a", "0", "retail-advice", "a-", "9-lives", &longest]);
    let too_long = "a".repeat(65);
    let wrong = [
        "", "-a", "A", "a_b", "a.b", "a/b", "..", "a b", "a\n", "\u{e4}", &too_long,
    ];
    refuses::<RuleSetName>(&wrong);
}

#[test]
fn deployment_names_are_what_one_can_read() {
    // 128 characters of any script, not bytes.
    let longest = "\u{732b}".repeat(128);
    accepts::<DeploymentName>(&["demo", "meta-llama/Llama-3.1-8B", "two words", &longest]);
    let too_long = "x".repeat(129);
    let wrong = [
        "",
        " a",
        "a ",
        "a\nb",
        "a\tb",
        "\0",
        "\u{1b}[31m",
        "a\u{202e}b",
        &too_long,
    ];
    refuses::<DeploymentName>(&wrong);
    refuses::<KeyName>(&wrong);
}

#[test]
fn key_ids() {
    accepts::<KeyId>(&["key_0123456789abcdef"]);
    refuses::<KeyId>(&[
        "",
        "key_",
        "key_0123456789abcde",
        "key_0123456789ABCDEF",
        "pk-0123",
    ]);
}

#[test]
fn an_error_says_what_to_write_and_repeats_no_flood() {
    let error = "A".repeat(10_000).parse::<RuleSetName>().unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("is not a rule-set name: use 1 to 64 of a-z"),
        "{message}"
    );
    assert!(message.len() < 300, "{message}");
}

#[test]
fn json_goes_through_the_same_door() {
    let name: RuleSetName = serde_json::from_str("\"cards\"").unwrap();
    assert_eq!(serde_json::to_string(&name).unwrap(), "\"cards\"");
    let error = serde_json::from_str::<RuleSetName>("\"../etc\"").unwrap_err();
    assert!(
        error.to_string().contains("is not a rule-set name"),
        "{error}"
    );
}

#[test]
fn roles_have_one_spelling() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    let error = "Admin".parse::<Role>().unwrap_err().to_string();
    for role in Role::ALL {
        assert!(error.contains(role.as_str()), "{error}");
    }
}

fn accepts<T: FromStr<Err = NameError> + AsRef<str>>(texts: &[&str]) {
    for text in texts {
        assert_eq!(text.parse::<T>().unwrap().as_ref(), *text);
    }
}

fn refuses<T: FromStr<Err = NameError> + Debug>(texts: &[&str]) {
    for text in texts {
        let error = text.parse::<T>().unwrap_err();
        assert_eq!(error.given, text.chars().take(128).collect::<String>());
    }
}
