//! Laws that hold for every log.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use portcullis_ledger::{
    Audit, Export, OpenRecord, Outcome, Predicate, Recorder, SignedCheckpoint, TilePath,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::export::exported;
use crate::making::{
    LOG, Log, TestClock, call, config, end, many_calls, pinned, public, start, two_servers,
};
use crate::memory::{MemoryStore, Trouble};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// What happens to a server.
#[derive(Clone, Debug)]
enum Event {
    Open(Option<&'static str>),
    Close(Index, Outcome),
    Drop(Index),
    Crash,
    StorageFails,
    NextAppendSeemsToFail,
    StorageWorks,
    ClockGoesBack,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    let caller = prop::sample::select(vec![None, Some("ada"), Some("bob")]);
    // Only a start says that a call crashed.
    let outcome = prop::sample::select(Outcome::ALL[..5].to_vec());
    prop_oneof![
        6 => caller.prop_map(Open),
        5 => (any::<Index>(), outcome).prop_map(|(which, outcome)| Close(which, outcome)),
        1 => any::<Index>().prop_map(Drop),
        1 => Just(Crash),
        1 => Just(StorageFails),
        1 => Just(NextAppendSeemsToFail),
        2 => Just(StorageWorks),
        1 => Just(ClockGoesBack),
    ]
}

/// A server, and what its callers know.
struct World {
    store: Arc<MemoryStore>,
    clock: TestClock,
    recorder: Recorder,
    open: Vec<OpenRecord>,
    numbers: u64,
    /// Calls that were told that they may begin.
    begun: BTreeSet<String>,
}

impl World {
    async fn new() -> Self {
        let (store, clock) = (Arc::new(MemoryStore::default()), TestClock::default());
        let (recorder, _) = start(&store, config(&clock)).await.unwrap();
        Self {
            store,
            clock,
            recorder,
            open: Vec::new(),
            numbers: 0,
            begun: BTreeSet::new(),
        }
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Open(caller) => self.begin(caller).await,
            Event::Close(which, outcome) => {
                if let Some(record) = self.take(which) {
                    // What fails is owed.
                    let _ = record.close(end(outcome)).durable().await;
                }
            }
            Event::Drop(which) => drop(self.take(which)),
            Event::Crash => self.crash().await,
            Event::StorageFails => self.store.fail(Trouble::Always),
            Event::NextAppendSeemsToFail => self.store.fail(Trouble::OnceThoughWritten),
            Event::StorageWorks => self.store.fail(None),
            Event::ClockGoesBack => self.clock.set_back(),
        }
    }

    async fn begin(&mut self, caller: Option<&str>) {
        self.numbers += 1;
        let mut record = self.recorder.open(call(self.numbers, caller)).unwrap();
        if record.durable().await.is_ok() {
            self.begun.insert(record.id().to_string());
        }
        self.open.push(record);
    }

    fn take(&mut self, which: Index) -> Option<OpenRecord> {
        let at = (!self.open.is_empty()).then(|| which.index(self.open.len()));
        at.map(|at| self.open.swap_remove(at))
    }

    async fn crash(&mut self) {
        self.store = self.store.after_a_crash();
        // What the dead process still says reaches nobody.
        self.open.clear();
        self.recorder = start(&self.store, config(&self.clock)).await.unwrap().0;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_to_a_server_its_log_is_sound(events in vec(event(), 0..40)) {
        let world = RUNTIME.block_on(async {
            let mut world = World::new().await;
            for event in events {
                world.happen(event).await;
            }
            world
        });
        let store = world.store.after_a_crash();
        let log = Log::of(&store);
        // Each checkpoint that there ever was is of a beginning of this log.
        let keys = pinned();
        let mut audit = Audit::new(&log.checkpoint, &keys);
        for older in &store.kept().checkpoints {
            audit.witnessed(older);
        }
        for entry in &log.entries {
            audit.entry(entry);
        }
        let report = audit.finish();
        prop_assert_eq!(&report.faults, &[]);
        prop_assert_eq!(report.under_way, store.kept().open_ids().len() as u64);
        let recorded: BTreeSet<_> = log.predicates().into_iter().filter_map(|said| match said {
            Predicate::Opened(opened) => Some(opened.head.record_id.to_string()),
            _ => None,
        }).collect();
        prop_assert!(world.begun.is_subset(&recorded));
    }
}

/// A folder with whole tiles and bundles and partial ones, and its files whose bytes count.
struct Folder {
    dir: TempDir,
    files: Vec<PathBuf>,
}

static FOLDER: LazyLock<Mutex<Folder>> = LazyLock::new(|| {
    let log = RUNTIME.block_on(many_calls(130));
    let dir = exported(&log);
    let entries = ["checkpoint", "entries.jsonl"].map(PathBuf::from);
    let tiles = TilePath::all(log.entries.len() as u64);
    let tiles = tiles.iter().map(|tile| PathBuf::from(tile.to_string()));
    let files = entries.into_iter().chain(tiles).collect();
    Mutex::new(Folder { dir, files })
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn one_changed_byte_anywhere_is_found(file: Index, at: Index, flip in 1..=255_u8) {
        let folder = FOLDER.lock().unwrap();
        let path = folder.dir.path().join(file.get(&folder.files));
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= flip;
        fs::write(&path, &bad).unwrap();
        let found = match Export::open(folder.dir.path()) {
            Ok(export) => !export.verify(&pinned(), &[]).is_sound(),
            Err(_) => true,
        };
        fs::write(&path, &good).unwrap();
        prop_assert!(found, "{}", path.display());
    }
}

#[test]
fn every_byte_of_the_checkpoint_counts() {
    let log = RUNTIME.block_on(two_servers());
    for at in 0..log.checkpoint.len() {
        for bit in 0..8 {
            let mut bytes = log.checkpoint.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // What is no text is not read as a checkpoint at all.
            if let Ok(note) = String::from_utf8(bytes) {
                let read = SignedCheckpoint::read(&note, &public(&[LOG]));
                assert!(read.is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
