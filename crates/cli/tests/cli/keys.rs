use super::running::Server;
use super::{json, portcullis, run, stderr, stdout, text};

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

    assert_eq!(keys(&["revoke", id, "--yes"]).status.code(), Some(0));
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
fn a_directory_that_is_made_for_a_key_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("typo");
    let create = |name: &str| {
        let what = [
            "keys", "create", "--role", "admin", "--name", name, "--json",
        ];
        run(&[&what[..], &["--data-dir", text(&data_dir)]].concat())
    };
    let first = create("a");
    assert_eq!(first.status.code(), Some(0));
    let told = format!("note: {} was no data directory", text(&data_dir));
    assert!(stderr(&first).starts_with(&told), "{first:?}");
    assert!(json(&first)["key"].is_string(), "stdout is for programs");
    assert_eq!(stderr(&create("b")), "");
}

#[test]
fn the_terms_of_a_key_are_listed_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let at = ["--data-dir", text(dir.path())];
    let keys = |args: &[&str]| run(&[&["keys"], args, &at].concat());
    let create = ["create", "--role", "inference", "--name", "app", "--json"];
    let terms = ["--expires", "2100-01-01", "--requests-per-minute", "60"];
    let more = [
        "--tokens-per-minute",
        "10000",
        "--max-concurrent-requests",
        "4",
    ];
    let made = json(&keys(&[&create[..], &terms, &more].concat()));
    let id = made["id"].as_str().unwrap();
    let listed = json(&keys(&["list", "--json"]));
    assert_eq!(listed[0]["expires_at"], 4_102_444_800_u64);
    assert_eq!(listed[0]["requests_per_minute"], 60);
    assert!(listed[0]["tokens_per_day"].is_null());

    let change = ["--expires", "never", "--tokens-per-minute", "none"];
    let more = ["--tokens-per-day", "1000000"];
    let changed = keys(&[&["update", id][..], &change, &more].concat());
    assert!(
        stdout(&changed).contains("60 requests/min, 1000000 tokens/day, 4 at once"),
        "{changed:?}"
    );
    let listed = stdout(&keys(&["list"]));
    assert!(
        listed.contains("1000000 tokens/day") && !listed.contains("2100"),
        "{listed}"
    );

    let nothing = keys(&["update", id]);
    assert!(
        stderr(&nothing).contains("say what to change"),
        "{nothing:?}"
    );
    let past = keys(&["update", id, "--expires", "2001-01-01"]);
    assert_eq!(past.status.code(), Some(1));
    assert!(
        stderr(&past).contains("2001-01-01 00:00 UTC is past"),
        "{past:?}"
    );
}

#[test]
fn the_last_admin_key_is_revoked_only_on_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let at = ["--data-dir", text(dir.path())];
    let keys = |args: &[&str]| run(&[&["keys"], args, &at].concat());
    let made = json(&keys(&[
        "create", "--role", "admin", "--name", "ada", "--json",
    ]));
    let id = made["id"].as_str().unwrap();
    // Standard input is no terminal here: nobody can be asked.
    let refused = keys(&["revoke", id]);
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr(&refused);
    assert!(
        told.contains("the last key that can administer") && told.contains("--yes"),
        "{told}"
    );
    assert!(json(&keys(&["list", "--json"]))[0]["revoked"].is_null());
    assert_eq!(keys(&["revoke", id, "--yes"]).status.code(), Some(0));
    assert!(json(&keys(&["list", "--json"]))[0]["revoked"].is_i64());
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

#[test]
fn a_server_is_asked_for_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let model = super::repository("models/demo/llama");
    let server = Server::start(dir.path(), &["--model", text(&model)]);
    let create = [
        "keys", "create", "--role", "admin", "--name", "ada", "--json",
    ];
    let admin = json(&run(
        &[&create[..], &["--data-dir", text(dir.path())]].concat()
    ));
    let (admin_id, secret) = (
        admin["id"].as_str().unwrap(),
        admin["key"].as_str().unwrap(),
    );
    let keys = |args: &[&str]| {
        let mut command = portcullis();
        command.arg("keys").args(args);
        let server = [
            ("PORTCULLIS_URL", server.url.as_str()),
            ("PORTCULLIS_API_KEY", secret),
        ];
        command.envs(server).output().unwrap()
    };
    let create = ["create", "--role", "inference", "--name", "app", "--json"];
    let made = json(&keys(
        &[&create[..], &["--requests-per-minute", "60"]].concat(),
    ));
    let id = made["id"].as_str().unwrap();
    let change = ["--requests-per-minute", "none", "--tokens-per-day", "7"];
    let changed = json(&keys(&[&["update", id, "--json"][..], &change].concat()));
    assert!(changed["requests_per_minute"].is_null());
    assert_eq!(changed["tokens_per_day"], 7);
    assert_eq!(json(&keys(&["list", "--json"]))[1], changed);

    assert!(keys(&["revoke", id]).status.success());
    let refused = keys(&["revoke", admin_id]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("give --yes"), "{refused:?}");
    assert!(keys(&["revoke", admin_id, "--yes"]).status.success());
    assert_eq!(
        keys(&["list"]).status.code(),
        Some(1),
        "nobody can administer"
    );
}
