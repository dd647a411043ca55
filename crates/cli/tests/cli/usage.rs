use super::{run, stderr, stdout};

#[test]
fn mistakes_of_the_configuration_are_told_all_at_once_and_exit_with_2() {
    let output = run(&[
        "serve",
        "--bind",
        "nowhere",
        "--dtype",
        "int4",
        "--max-num-seqs",
        "0",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.starts_with("error: the configuration has 3 mistakes\n"),
        "{told}"
    );
    for line in [
        "--bind \"nowhere\": ",
        "--dtype \"int4\": ",
        "--max-num-seqs \"0\": ",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn an_unknown_flag_exits_with_2() {
    assert_eq!(run(&["serve", "--modle", "x"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn the_version_says_what_runs_here() {
    let told = stdout(&run(&["--version"]));
    assert!(told.starts_with("portcullis 0."), "{told}");
    assert!(
        told.contains(" build, ") && told.contains(std::env::consts::ARCH),
        "{told}"
    );
}

#[test]
fn the_help_names_every_command() {
    let told = stdout(&run(&["--help"]));
    for command in ["serve", "rules", "keys", "audit", "models", "doctor"] {
        assert!(told.contains(&format!("\n  {command} ")), "{told}");
    }
}
