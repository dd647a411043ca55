//! The command line, as people type it.

pub(crate) mod audit;
pub(crate) mod authoring;
pub(crate) mod bench;
pub(crate) mod keys;
pub(crate) mod signing;

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use crate::config::Flags;
use crate::config::setting::{self, Setting};
use audit::AuditCommand;
use authoring::{RulesExplainArgs, RulesTestArgs};
use bench::BenchCommand;
use keys::KeysCommand;
use signing::{
    ApproveArgs, DiffArgs, HistoryArgs, KeygenArgs, SignArgs, SignersCommand, VersionArgs,
};

/// A self-hosted LLM inference server with an admissibility gate.
///
/// `portcullis serve` with nothing else starts the bundled demo model with a demo rule set, and
/// prints a curl line that shows the gate at work.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version = version(), propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed, or mistakes were found; 2 used the wrong way."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a model behind an OpenAI-compatible endpoint
    ///
    /// A flag is stronger than its environment variable, which is stronger than the key of the
    /// file: --max-num-seqs, PORTCULLIS_MAX_NUM_SEQS, max_num_seqs.
    Serve(ServeArgs),
    /// Check and sign rule sets, and put them into force on a running server
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Make, list, change and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Verify the record of every call, without a server
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look into models and fetch them
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Measure a server, this one or any other that speaks the OpenAI protocol
    #[command(subcommand)]
    Bench(Box<BenchCommand>),
    /// Tell what is there: device, memory, data directory, model, rule sets, keys, server
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    settings: SettingArgs<AllSettings>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    settings: SettingArgs<AllSettings>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Validate rule files and run their embedded tests
    Check(RulesCheckArgs),
    /// Tell what the rules of a file would have found in past text
    Test(RulesTestArgs),
    /// Explain what the rules of a file compile to, hold back, do, and cannot catch
    Explain(RulesExplainArgs),
    /// Print the JSON Schema of rule files, for editors
    Schema,
    /// Make a key to sign rule sets with
    Keygen(KeygenArgs),
    /// Sign a rule file
    Sign(SignArgs),
    /// Register a rule file: a version of its rule set, which never changes from then on
    Push(RulesPushArgs),
    /// Sign a version that is on the server
    Approve(ApproveArgs),
    /// Put a version into force, in place of the one that is active
    Activate(VersionArgs),
    /// End the life of a version
    Retire(VersionArgs),
    /// Let a rule set hold for a key or a deployment, or observe it there
    Bind(RulesBindArgs),
    /// Take a binding back
    Unbind(RulesUnbindArgs),
    /// List rule sets and what they are bound to
    List(RulesListArgs),
    /// Tell what changed between two versions
    Diff(DiffArgs),
    /// Tell what happened to a rule set, when and by whom
    History(HistoryArgs),
    /// Say whose signatures count
    #[command(subcommand)]
    Signers(SignersCommand),
}

#[derive(Debug, Args)]
pub(crate) struct RulesCheckArgs {
    /// Rule files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RulesPushArgs {
    /// Rule file, sent with the signatures in FILE.dsse where there is one; or an envelope
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RulesBindArgs {
    /// Rule set, and which version of it [default version: the active one]
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) ruleset: RuleSetName,
    /// Only observe it: it is evaluated and changes nothing, whatever its mode
    #[arg(long)]
    pub(crate) observe: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RulesUnbindArgs {
    /// Rule set
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Take back the one that is only observed
    #[arg(long)]
    pub(crate) observe: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What a rule set holds for: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Id of an API key
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// Name of a deployment
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RulesListArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Describe a model without loading its weights
    Inspect(ModelArgs),
    /// Fetch a model from the hub into its cache
    Pull(ModelArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Folder in the Hugging Face layout, or name on the hub
    #[arg(value_name = "NAME_OR_DIR")]
    pub(crate) model: String,
    #[command(flatten)]
    settings: SettingArgs<ModelSettings>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which server to ask, and as whom.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Server to ask [env: PORTCULLIS_URL] [default: http://127.0.0.1:8000]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Key to ask with; better in the environment, where no process list shows it [env: PORTCULLIS_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print JSON instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

impl ServeArgs {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> &Flags {
        &self.settings.flags
    }
}

impl DoctorArgs {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> &Flags {
        &self.settings.flags
    }
}

impl ModelArgs {
    /// The settings that were given, the model among them.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.settings.flags.clone();
        flags.settings.push((setting::MODEL, self.model.clone()));
        flags
    }
}

/// A rule set as it is typed: `retail-advice` or `retail-advice@3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleSetName {
    pub(crate) name: String,
    pub(crate) version: Option<u32>,
}

impl std::str::FromStr for RuleSetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, version)) = text.split_once('@') else {
            return Ok(Self {
                name: text.to_owned(),
                version: None,
            });
        };
        let version = version
            .parse()
            .map_err(|_| format!("{version:?} is no version; write {name}@1"))?;
        Ok(Self {
            name: name.to_owned(),
            version: Some(version),
        })
    }
}

/// Flags made from the table of settings, taken as text: what they mean, and whether it is
/// allowed, is decided together with environment and file.
#[derive(Clone, Debug)]
struct SettingArgs<S> {
    flags: Flags,
    set: PhantomData<S>,
}

/// Which settings a command takes as flags.
trait SettingSet {
    const SETTINGS: &[Setting];
}

#[derive(Debug)]
struct AllSettings;

impl SettingSet for AllSettings {
    const SETTINGS: &[Setting] = setting::ALL;
}

/// What an engine is made of.
#[derive(Clone, Debug)]
pub(crate) struct EngineSettings;

impl SettingSet for EngineSettings {
    const SETTINGS: &[Setting] = setting::OF_ENGINES;
}

#[derive(Debug)]
struct ModelSettings;

impl SettingSet for ModelSettings {
    const SETTINGS: &[Setting] = setting::OF_MODELS;
}

impl<S: SettingSet> SettingArgs<S> {
    fn taken() -> impl Iterator<Item = &'static Setting> {
        S::SETTINGS.iter().filter(|setting| !setting.is_secret)
    }
}

impl<S: SettingSet> Args for SettingArgs<S> {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Settings as TOML [env: PORTCULLIS_CONFIG]");
        Self::taken()
            .map(argument)
            .fold(command.arg(file), clap::Command::arg)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<S: SettingSet> FromArgMatches for SettingArgs<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| {
            let texts: Vec<&str> = matches
                .get_many::<String>(setting.key)?
                .map(String::as_str)
                .collect();
            Some((*setting, texts.join(",")))
        };
        let file = matches.get_one::<PathBuf>("config").cloned();
        let settings = Self::taken().filter_map(given).collect();
        Ok(Self {
            flags: Flags { file, settings },
            set: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let action = match setting.is_list {
        true => ArgAction::Append,
        false => ArgAction::Set,
    };
    Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.value_name)
        .help(setting.help)
        .action(action)
        // So that `--max-num-seqs -1` gets the answer that says what is allowed.
        .allow_negative_numbers(true)
}

/// What runs here: version, build, platform, and whether it knows cards.
pub(crate) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        build(if cfg!(feature = "cuda") {
            "with CUDA"
        } else {
            "without CUDA"
        })
    });
    &VERSION
}

/// Version, build and platform, and what else there is to tell of them.
pub(crate) fn build(more: &str) -> String {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let version = env!("CARGO_PKG_VERSION");
    format!("{version} ({build} build, {arch}-{os}, {more})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_of_serve_except_secrets() {
        for setting in setting::ALL {
            let parsed = parse(&format!("portcullis serve --{} some-text", setting.flag()));
            assert_eq!(parsed.is_ok(), !setting.is_secret, "{}", setting.key);
        }
    }

    #[test]
    fn flags_are_kept_as_text() {
        let line = "portcullis serve --config a.toml --max-num-seqs -1 --bind nowhere";
        let Command::Serve(args) = parse(line).unwrap().command else {
            panic!("not serve")
        };
        let flags = args.flags();
        assert_eq!(flags.file, Some(PathBuf::from("a.toml")));
        let given: Vec<_> = flags
            .settings
            .iter()
            .map(|(s, text)| (s.key, text.as_str()))
            .collect();
        assert_eq!(given, [("bind", "nowhere"), ("max_num_seqs", "-1")]);
    }

    #[test]
    fn a_list_may_be_given_more_than_once() {
        let line =
            "portcullis serve --cors-origin https://a.example --cors-origin https://b.example";
        let Command::Serve(args) = parse(line).unwrap().command else {
            panic!("not serve")
        };
        let (setting, text) = &args.flags().settings[0];
        assert_eq!(setting.key, "cors_origin");
        assert_eq!(text, "https://a.example,https://b.example");
        assert!(parse("portcullis serve --bind a --bind b").is_err());
    }

    #[test]
    fn a_binding_needs_exactly_one_target() {
        let check = |rest: &str, expect: bool| {
            assert_eq!(
                parse(&format!("portcullis rules bind demo@1 {rest}")).is_ok(),
                expect,
                "{rest}"
            );
        };
        check("--key k1", true);
        check("--deployment demo", true);
        check("", false);
        check("--key k1 --deployment demo", false);
    }

    #[test]
    fn a_rule_set_may_have_a_version() {
        let check = |text: &str, name: &str, version| {
            let expect = RuleSetName {
                name: name.to_owned(),
                version,
            };
            assert_eq!(text.parse(), Ok(expect));
        };
        check("demo", "demo", None);
        check("demo@3", "demo", Some(3));
        let message = "demo@three".parse::<RuleSetName>().unwrap_err();
        assert_eq!(message, "\"three\" is no version; write demo@1");
    }

    #[test]
    fn keys_come_from_a_server_or_a_directory_not_both() {
        assert!(parse("portcullis keys list --data-dir d").is_ok());
        assert!(parse("portcullis keys list --url http://h --api-key k").is_ok());
        assert!(parse("portcullis keys list --data-dir d --url http://h").is_err());
    }

    #[test]
    fn the_terms_of_a_key_are_the_same_when_it_is_made_and_later() {
        let terms = "--expires 90d --requests-per-minute 60 --tokens-per-minute none \
                     --tokens-per-day 1000 --max-concurrent-requests 4";
        let create = format!("portcullis keys create --role admin --name n {terms}");
        assert!(parse(&create).is_ok());
        assert!(parse(&format!("portcullis keys update key_1 {terms}")).is_ok());
        for wrong in [
            "--expires soon",
            "--requests-per-minute 0",
            "--tokens-per-day -1",
        ] {
            let message = parse(&format!("portcullis keys update key_1 {wrong}"))
                .unwrap_err()
                .to_string();
            assert!(message.contains("write a "), "{message}");
        }
    }
}
