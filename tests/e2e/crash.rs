//! Kill -9 at random moments under load, again and again on one data directory: what clients heard
//! is on record.
//!
//! More kills, or the same again: `PORTCULLIS_CRASH_KILLS`, `PORTCULLIS_CRASH_SEED`. The seed fixes
//! what is asked, how and until when; when a process is scheduled, nobody fixes. `just crash 1000`
//! found nothing on 2026-11-21 (392 s).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use portcullis_ledger::{CallEnd, Outcome, Salt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::calls::{Ask, Choice, Ended, Heard, Manner};
use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::server::{Server, new_key, quick_folder, serve};

const KILLS: u64 = 300;
const CLIENTS: u64 = 4;
const KNOWN_OF_A_KIND: usize = 4;
/// What is to be proven is seen once in so many kills at least.
const SELDOM: u64 = 100;
/// The ledger is read after so many kills, and at the end.
const KILLS_BETWEEN_LOOKS: u64 = 50;

/// Refuses some prompts, and some answers before and some after their first text.
const STRICT: &str = r#"
ruleset: strict
version: 1
mode: enforce
rules:
  - {id: asked, why: "not to be asked", on: input, phrases: ["forbidden"], action: reject}
  - {id: said, why: "not to be said", phrases: ["our growth", "guaranteed", "account"], action: reject}
tests:
  - {rule: asked, should_fail: "a forbidden question"}
  - {rule: said, should_fail: "a guaranteed return"}
"#;

const QUESTIONS: [&str; 4] = [
    "What is my account number?",
    "Tell me about the Growth Fund",
    "What is my balance?",
    "Tell me something forbidden",
];

/// A call, and all that its answer will ever say.
struct Known {
    ask: Ask,
    kind: Kind,
    status: u16,
    choices: Vec<Choice>,
}

/// What the gate does about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Redacted,
    Resampled,
    RefusedPrompt,
    RefusedBeforeText,
    RefusedAfterText,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Plain,
        Self::Redacted,
        Self::Resampled,
        Self::RefusedPrompt,
        Self::RefusedBeforeText,
        Self::RefusedAfterText,
    ];

    fn of(ask: &Ask, heard: &Heard) -> Self {
        let told = heard.admissibility();
        let acted = told["findings"].as_array().into_iter().flatten();
        match (heard.status, told["status"].as_str()) {
            (Some(400), _) if ask.text.contains("forbidden") => Self::RefusedPrompt,
            (Some(400), _) => Self::RefusedBeforeText,
            (_, Some("refused")) => Self::RefusedAfterText,
            _ if told["attempts"] != 0 => Self::Resampled,
            _ if acted.count() > 0 => Self::Redacted,
            _ => Self::Plain,
        }
    }

    fn is_refused(self) -> bool {
        self >= Self::RefusedPrompt
    }
}

/// What came of asking once more.
struct Told {
    known: Arc<Known>,
    manner: Manner,
    heard: Heard,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_heard_is_on_record_whenever_the_server_is_killed() {
    let (kills, seed) = (from_environment("KILLS"), from_environment("SEED"));
    let (kills, seed) = (kills.unwrap_or(KILLS), seed.unwrap_or_else(any_seed));
    println!("PORTCULLIS_CRASH_SEED={seed}");
    // kill -9 leaves what the operating system holds: a disk would only be slower.
    let folder = quick_folder();
    let known = learn(folder.path()).await;
    let mut rng = Rng::new(seed);
    let mut books = Books::default();
    let mut kill = 0;
    // On a slow machine fewer calls come to their end before a kill: then it takes more lives.
    while kill < kills || (!books.have_seen_everything(kills) && kill < 4 * kills) {
        if rng.one_in(8) {
            kill_while_it_starts(folder.path(), &mut rng).await;
        }
        books
            .told
            .extend(one_life(folder.path(), &known, &mut rng).await);
        kill += 1;
        if kill % KILLS_BETWEEN_LOOKS == 0 {
            books.check(folder.path()).await;
        }
    }
    // One more start closes what the last kill cut off.
    Server::start(folder.path()).kill();
    books.check(folder.path()).await;
    assert_eq!(books.told.len(), 0, "calls without an end");
    println!("{kill} kills");
    for (seen, times) in &books.seen {
        println!("{times:6} {seen:?}");
    }
    assert!(books.have_seen_everything(kills));
}

/// Keys and rule sets for what is asked, and the answers when nothing happens.
async fn learn(data_dir: &Path) -> Vec<Arc<Known>> {
    let server = Server::start(data_dir);
    let (_, admin) = new_key(data_dir, "admin", "tests");
    let (_, usual) = new_key(data_dir, "inference", "usual");
    let (id, strict) = new_key(data_dir, "inference", "strict");
    server.activate(&admin, STRICT.to_owned()).await;
    let binding = json!({"key": id}).to_string();
    let path = "/v1/rulesets/strict/bindings";
    server.post(path, &admin, binding).await;
    let mut known: Vec<Arc<Known>> = Vec::new();
    let few = |known: &[Arc<Known>], kind| of_kind(known, kind) < KNOWN_OF_A_KIND;
    for seed in 0.. {
        let kinds = Kind::ALL.into_iter();
        let missing: Vec<_> = kinds.filter(|&kind| few(&known, kind)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(seed < 500, "no call is {missing:?}");
        let ask = Ask {
            key: [&usual, &strict][seed as usize % 2].clone(),
            text: QUESTIONS[seed as usize / 2 % QUESTIONS.len()],
            seed,
            choices: 1 + usize::from(seed % 5 == 0),
            tokens: None,
        };
        let new = Known::learn(&server, ask).await;
        if missing.contains(&new.kind) {
            known.push(Arc::new(new));
        }
    }
    server.kill();
    known
}

fn of_kind(known: &[Arc<Known>], kind: Kind) -> usize {
    known.iter().filter(|known| known.kind == kind).count()
}

/// Recovery is cut off too.
async fn kill_while_it_starts(data_dir: &Path, rng: &mut Rng) {
    let mut process = serve(data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(rng.below(150))).await;
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Starts a server, asks it from all sides, and kills it.
async fn one_life(data_dir: &Path, known: &[Arc<Known>], rng: &mut Rng) -> Vec<Told> {
    let server = Server::start(data_dir);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let rng = Rng::new(rng.next());
        clients.spawn(ask_on(server.url.clone(), known.to_vec(), rng));
    }
    sleep(Duration::from_millis(rng.below(400))).await;
    server.kill();
    clients.join_all().await.into_iter().flatten().collect()
}

/// Asks one thing after the other until nobody answers.
async fn ask_on(url: String, known: Vec<Arc<Known>>, mut rng: Rng) -> Vec<Told> {
    let client = reqwest::Client::new();
    let mut told = Vec::new();
    loop {
        let known = Arc::clone(&known[rng.below(known.len() as u64) as usize]);
        let patience = Duration::from_millis(rng.below(200));
        let manner = Manner {
            stream: rng.one_in(2),
            patience: rng.one_in(4).then_some(patience),
        };
        let heard = known.ask.call(&client, &url, manner).await;
        let is_over = heard.end == Ended::Broken;
        told.push(Told {
            known,
            manner,
            heard,
        });
        if is_over {
            return told;
        }
    }
}

/// What clients heard, until the ledger has said the same.
#[derive(Default)]
struct Books {
    told: Vec<Told>,
    checkpoint: Option<String>,
    seen: BTreeMap<Seen, u64>,
}

/// What was compared, so that nothing is proven about nothing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    kind: Kind,
    end: Ended,
    outcome: Outcome,
    has_text: bool,
}

impl Books {
    /// Compares them with the ledger of the server that was just killed.
    async fn check(&mut self, data_dir: &Path) {
        let ledger = Ledger::read(data_dir, self.checkpoint.as_deref()).await;
        for (id, call) in &ledger.calls {
            let may_be_open = call.index > ledger.last_start;
            let ends = call.closed.len();
            assert!(ends == 1 || (ends == 0 && may_be_open), "{id}: {ends} ends");
        }
        for told in std::mem::take(&mut self.told) {
            let Some(id) = &told.heard.record else {
                assert_eq!(
                    told.heard.status, None,
                    "{told}: an answer without a record"
                );
                continue;
            };
            let call = ledger.calls.get(id);
            let call = call.unwrap_or_else(|| panic!("{told}: {id} is not on record"));
            match call.closed.first() {
                Some(closed) => {
                    told.check(&closed.end, &ledger.salt(id).await);
                    *self.seen.entry(told.seen(&closed.end)).or_default() += 1;
                }
                None => {
                    assert_ne!(told.heard.end, Ended::Complete, "{told}: {id} has no end");
                    self.told.push(told);
                }
            }
        }
        self.checkpoint = Some(ledger.checkpoint);
    }

    fn have_seen_everything(&self, kills: u64) -> bool {
        let is_seen = |wanted: &dyn Fn(&Seen) -> bool| {
            let seen = self.seen.iter().filter(|(seen, _)| wanted(seen));
            seen.map(|(_, times)| times).sum::<u64>() >= kills / SELDOM
        };
        let is_complete = |kind| is_seen(&|it| it.kind == kind && it.end == Ended::Complete);
        let cut_off = [Outcome::Crashed, Outcome::ClientGone];
        let is_cut_off = |outcome| is_seen(&|it| it.outcome == outcome && it.has_text);
        Kind::ALL.into_iter().all(is_complete) && cut_off.into_iter().all(is_cut_off)
    }
}

impl Told {
    /// What was heard against what is on record, and both against what there is to say.
    fn check(&self, end: &CallEnd, salt: &Salt) {
        let Self { known, heard, .. } = self;
        assert_eq!(heard.status, Some(known.status), "{self}");
        let choices = self.choices();
        match heard.end {
            Ended::Complete => {
                assert_eq!(choices, known.choices, "{self}");
                let must_say_so = self.manner.stream && known.status == 200;
                assert_eq!(heard.is_done(), must_say_so, "{self}");
            }
            _ => assert!(known.begins_with(&choices), "{self}"),
        }
        let released = |end: &CallEnd| end.choices.iter().map(|it| it.released_bytes).sum::<u64>();
        match end.outcome {
            Outcome::Finished | Outcome::Refused => {
                assert_eq!(end.outcome, known.outcome(), "{self}");
                self.check_released(end, salt, true);
            }
            Outcome::ClientGone if self.manner.stream => self.check_released(end, salt, false),
            // A whole answer is sent at its end.
            Outcome::ClientGone => assert_eq!(released(end), 0, "{self}"),
            // A process that is gone cannot say what it released.
            Outcome::Crashed => assert_eq!(end.choices, [], "{self}"),
            Outcome::Cancelled | Outcome::EngineError => panic!("{self}: {}", end.outcome),
        }
        if heard.end == Ended::Complete {
            let ended = [Outcome::Finished, Outcome::Refused];
            assert!(ended.contains(&end.outcome), "{self}: {}", end.outcome);
        }
    }

    /// Each choice was released up to some byte, all of it if it came to its `end`; and the client
    /// heard no more than that.
    fn check_released(&self, end: &CallEnd, salt: &Salt, is_whole: bool) {
        let known = &self.known.choices;
        if self.known.status != 200 {
            let nothing = |it: &portcullis_ledger::ChoiceEnd| it.released_bytes == 0;
            assert!(end.choices.iter().all(nothing), "{self}: {end:?}");
            return;
        }
        assert_eq!(end.choices.len(), known.len(), "{self}");
        let heard = self.choices();
        for (number, (end, known)) in end.choices.iter().zip(known).enumerate() {
            let released = end.released_bytes as usize;
            let text = known.text.as_bytes().get(..released);
            let text = text.unwrap_or_else(|| panic!("{self}: {end:?} and {known:?}"));
            assert_eq!(
                end.output_commitment,
                salt.of(&format!("choice/{number}")).commit(text),
                "{self}: {known:?}"
            );
            if is_whole {
                assert_eq!(released, known.text.len(), "{self}");
                assert_eq!(end.finish_reason, known.finish_reason, "{self}");
            }
            if let Some(heard) = heard.get(number) {
                let is_prefix = text.starts_with(heard.text.as_bytes());
                assert!(is_prefix, "{self}: {heard:?} and {released} of {known:?}");
            }
        }
    }

    fn choices(&self) -> Vec<Choice> {
        self.heard.choices()
    }

    fn seen(&self, end: &CallEnd) -> Seen {
        Seen {
            kind: self.known.kind,
            end: self.heard.end,
            outcome: end.outcome,
            has_text: self.choices().iter().any(|choice| !choice.text.is_empty()),
        }
    }
}

impl Known {
    async fn learn(server: &Server, ask: Ask) -> Self {
        let manner = Manner {
            stream: true,
            patience: None,
        };
        let heard = ask.call(&reqwest::Client::new(), &server.url, manner).await;
        assert_eq!(heard.end, Ended::Complete);
        Self {
            kind: Kind::of(&ask, &heard),
            status: heard.status.unwrap(),
            choices: heard.choices(),
            ask,
        }
    }

    fn begins_with(&self, heard: &[Choice]) -> bool {
        let mut pairs = self.choices.iter().zip(heard);
        pairs.all(|(known, heard)| known.text.starts_with(&heard.text))
    }

    fn outcome(&self) -> Outcome {
        match self.kind.is_refused() {
            true => Outcome::Refused,
            false => Outcome::Finished,
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            known,
            manner,
            heard,
        } = self;
        let (ask, body) = (&known.ask, String::from_utf8_lossy(&heard.body));
        let (record, end) = (&heard.record, heard.end);
        write!(f, "{ask:?}, {manner:?}: {record:?} {end:?} {body}")
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var_os(format!("PORTCULLIS_CRASH_{name}"))?;
    Some(value.to_str().unwrap().parse().unwrap())
}

fn any_seed() -> u64 {
    u64::from(std::process::id())
}
