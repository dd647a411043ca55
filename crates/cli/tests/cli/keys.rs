use super::{json, run, stderr, stdout, text};

#[test]
fn keys_are_made_listed_and_revoked_in_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let at = ["--data-dir", text(&data_dir)];
    let keys = |args: &[&str]| run(&[&["keys"], args, &at].concat());

    let made = json(&keys(&[
        "create", "--role", "admin", "--name", "ada", "--json",
    ]));
    assert_eq!(
        made.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id", "key"]
    );
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with("pk-"));

    let listed = keys(&["list", "--json"]);
    let list = json(&listed);
    assert_eq!(list[0]["id"], id);
    assert_eq!(list[0]["role"], "admin");
    assert!(list[0]["revoked"].is_null());
    assert!(!stdout(&listed).contains(key), "a secret is shown once");

    assert_eq!(keys(&["revoke", id]).status.code(), Some(0));
    assert!(json(&keys(&["list", "--json"]))[0]["revoked"].is_i64());
    assert!(stdout(&keys(&["list"])).contains("REVOKED (UTC)"));
}

#[test]
fn a_directory_that_is_none_is_not_made_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("absent");
    let output = run(&["keys", "list", "--data-dir", text(&data_dir)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is no data directory yet"),
        "{output:?}"
    );
    assert!(!data_dir.exists());
}

#[test]
fn a_role_that_is_none_is_answered_with_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let create = [
        "keys",
        "create",
        "--role",
        "root",
        "--name",
        "x",
        "--data-dir",
        text(dir.path()),
    ];
    let output = run(&create);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("inference, author, approver, auditor or admin"));
}

#[test]
fn a_key_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = ["--data-dir", text(dir.path())];
    run(&[
        &["keys", "create", "--role", "admin", "--name", "x"][..],
        &at,
    ]
    .concat());
    let revoke = run(&[&["keys", "revoke", "key_0123456789abcdef"][..], &at].concat());
    assert_eq!(revoke.status.code(), Some(1));
    assert!(
        stderr(&revoke).contains("there is no key key_0123456789abcdef"),
        "{revoke:?}"
    );
}

#[test]
fn without_a_server_it_is_said_how_to_name_one() {
    // Port 9 of this machine: discard, which nobody runs.
    let output = run(&["keys", "list", "--url", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.starts_with("error: no server answers at http://127.0.0.1:9; start one"),
        "{told}"
    );
}
