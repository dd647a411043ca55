//! Gives calls their records in time: the task that writes the log.
//!
//! Whoever opens a record hands it over and goes on; before the first byte is released,
//! [`OpenRecord::durable`] says that it is on disk. What comes while a batch is being written waits
//! for the next one, so that many calls share one write.
//!
//! When the storage fails, calls that want to begin are told so, and calls that have ended stay
//! owed: they are written as soon as it works again. Nothing is recorded as something else than it
//! was, and nothing is forgotten while the process lives. After a crash [`Recorder::start`] closes
//! what was open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::staging::{Draft, LogState, NotStaged, Staged, Staging};
use crate::{
    Call, CallEnd, CheckpointError, LogSigner, LogStore, LogTail, LogVerifier, Outcome, RecordId,
    RecordKeys, Salt, SignedCheckpoint, Started, StorageError, Timestamp, Tree,
};

/// Entries of one batch, at most.
const BATCH_MAX: usize = 256;

/// How long the writer waits before it tries again to write what is owed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What the recorder is told at its start.
pub struct RecorderConfig {
    /// The keys that sign from now on.
    pub keys: RecordKeys,
    /// Public keys that may have signed the checkpoint that is there.
    pub earlier_log_keys: Vec<portcullis_sign::PublicKey>,
    /// What the server says of itself; time, replica and keys are filled in.
    pub started: Started,
    /// Calls that may be open at once.
    pub max_open: usize,
    /// The time.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// A call that begins.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// What the record is called.
    pub record_id: RecordId,
    /// Id of the API key; none where inference needs no key.
    pub key: Option<String>,
    /// SHA-256 of it, for the record.
    pub key_id_hash: Option<String>,
    /// What the commitments of the call are salted with.
    pub salt: Salt,
    /// What was asked, and what holds.
    pub call: Call,
}

/// Opens records; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    inbox: mpsc::Sender<Message>,
    places: Arc<Semaphore>,
    max_open: usize,
    status: watch::Receiver<Status>,
    replica: Arc<str>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({})", self.replica)
    }
}

/// The log as of the last batch, and whether it could be written.
#[derive(Clone, Debug)]
struct Status {
    checkpoint: SignedCheckpoint,
    trouble: Option<Arc<str>>,
}

/// A call cannot be recorded, so it must not be answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unrecorded {
    /// The storage fails.
    #[error("the record of this call cannot be written: {0}")]
    Storage(Arc<str>),
    /// As many records are open as may be.
    #[error("{max} records are open, which is the most; try again shortly")]
    TooManyOpen {
        /// How many may be.
        max: usize,
    },
    /// What the record would say does not fit into an entry.
    #[error("the record of this call would be too long")]
    TooLong,
    /// The call never began in the log, or has ended.
    #[error("the record is not open")]
    NotOpen,
    /// The writer has ended.
    #[error("the ledger is closed")]
    Stopped,
}

/// Why a log cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The storage fails.
    #[error("the ledger cannot be opened: {0}")]
    Storage(#[from] StorageError),
    /// The log is not the one that was signed.
    #[error(
        "the ledger was changed since it was last written ({0}); nothing is added to it. \
             Restore it from a backup, or move the file away: then a new log begins"
    )]
    Changed(String),
    /// The key or the name of the log cannot be used.
    #[error("checkpoints cannot be signed: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// The first entries cannot be written.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
}

type Done = oneshot::Sender<Result<(), Unrecorded>>;
type Inbox = mpsc::Receiver<Message>;

/// Makes of an end what is owed if it cannot be written at once.
type IfLate = Box<dyn FnOnce(CallEnd) -> CallEnd + Send + Sync>;

struct Message {
    draft: Draft,
    if_late: Option<IfLate>,
    done: Done,
    /// Given back once the call is closed for good.
    place: Option<OwnedSemaphorePermit>,
}

impl Recorder {
    /// Takes up the log where it ends, closes what was open as `crashed`, and begins to write.
    /// Gives the recorder, and how many calls it closed.
    ///
    /// # Errors
    /// [`StartError`]; then nothing was written.
    pub async fn start(
        store: Arc<dyn LogStore>,
        config: RecorderConfig,
    ) -> Result<(Self, usize), StartError> {
        let tail = store.tail().await?;
        let replica = match &tail.replica {
            Some(replica) => replica.clone(),
            None => draw_replica().map_err(StartError::Random)?,
        };
        let origin = format!("portcullis/{replica}");
        let tree = check_tail(&tail, &config)?;
        let open = store.open_calls().await?;
        let crashed = open.len();
        let mut writer = Writer {
            state: LogState::new(replica, tree, tail.last_at, open),
            is_current: true,
            in_trouble: false,
            owed: VecDeque::new(),
            store,
            origin,
            keys: config.keys,
            clock: config.clock,
        };
        let checkpoint = writer.begin(config.started).await?;
        let (status, seen) = watch::channel(Status::good(checkpoint));
        // Each open record has at most its beginning and its end in it.
        let (inbox, messages) = mpsc::channel(2 * config.max_open);
        let recorder = Self {
            inbox,
            places: Arc::new(Semaphore::new(config.max_open)),
            max_open: config.max_open,
            status: seen,
            replica: writer.state.replica().into(),
        };
        tokio::spawn(writer.run(messages, status));
        Ok((recorder, crashed))
    }

    /// Hands a call to the log. The entry is on its way; [`OpenRecord::durable`] waits for it.
    ///
    /// # Errors
    /// [`Unrecorded::TooManyOpen`].
    pub fn open(&self, new: NewCall) -> Result<OpenRecord, Unrecorded> {
        let max = self.max_open;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Unrecorded::TooManyOpen { max })?;
        let id = new.record_id.clone();
        let opening = send(&self.inbox, Draft::Open(Box::new(new)), None, None);
        Ok(OpenRecord {
            id,
            inbox: self.inbox.clone(),
            opening: Some(opening),
            opened: Err(Unrecorded::Stopped),
            place: Some(place),
        })
    }

    /// The log as of the last batch.
    #[must_use]
    pub fn checkpoint(&self) -> SignedCheckpoint {
        self.status.borrow().checkpoint.clone()
    }

    /// Why nothing can be written now, if that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.status.borrow().trouble.clone()
    }

    /// Waits until every record that is open now is closed for good, and none can be opened any
    /// more.
    pub async fn settle(&self) {
        let all = u32::try_from(self.max_open).unwrap_or(u32::MAX);
        if let Ok(places) = self.places.acquire_many(all).await {
            places.forget();
        }
    }

    /// Records that are open.
    #[must_use]
    pub fn num_open(&self) -> usize {
        self.max_open - self.places.available_permits()
    }

    /// Who writes this log.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.replica
    }
}

/// The record of a call under way. Dropping it closes the record as an engine error: whoever holds
/// it knows better, and says so with [`Self::close`].
pub struct OpenRecord {
    id: RecordId,
    inbox: mpsc::Sender<Message>,
    opening: Option<oneshot::Receiver<Result<(), Unrecorded>>>,
    /// What came of the opening, once it is known.
    opened: Result<(), Unrecorded>,
    place: Option<OwnedSemaphorePermit>,
}

impl OpenRecord {
    /// What the record is called.
    #[must_use]
    pub fn id(&self) -> &RecordId {
        &self.id
    }

    /// Waits until the call's first entry is on disk. Nothing may be released before.
    ///
    /// # Errors
    /// [`Unrecorded`]: nothing may be released at all.
    pub async fn durable(&mut self) -> Result<(), Unrecorded> {
        if let Some(opening) = &mut self.opening {
            self.opened = opening.await.unwrap_or(Err(Unrecorded::Stopped));
            self.opening = None;
        }
        self.opened.clone()
    }

    /// Hands the end of the call to the log. It is written whether or not anybody waits for it.
    #[must_use = "whoever wants to be sure waits for it"]
    pub fn close(mut self, end: CallEnd) -> Closing {
        Closing(self.send_end(end, None))
    }

    /// The same for an end that is another one if it cannot be written at once: then what `if_late`
    /// makes of it is owed in its place.
    #[must_use = "whoever wants to be sure waits for it"]
    pub fn close_or(
        mut self,
        end: CallEnd,
        if_late: impl FnOnce(CallEnd) -> CallEnd + Send + Sync + 'static,
    ) -> Closing {
        Closing(self.send_end(end, Some(Box::new(if_late))))
    }

    fn send_end(
        &mut self,
        end: CallEnd,
        if_late: Option<IfLate>,
    ) -> oneshot::Receiver<Result<(), Unrecorded>> {
        let draft = Draft::Close(self.id.clone(), end);
        send(&self.inbox, draft, if_late, self.place.take())
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        if self.place.is_some() {
            // Nobody waits for it, and it is written all the same.
            drop(self.send_end(CallEnd::unknown(Outcome::EngineError), None));
        }
    }
}

/// The end of a record on its way to the disk.
pub struct Closing(oneshot::Receiver<Result<(), Unrecorded>>);

impl Closing {
    /// Waits until it is there.
    ///
    /// # Errors
    /// [`Unrecorded`]: it is owed, and written as soon as the storage works again.
    pub async fn durable(self) -> Result<(), Unrecorded> {
        self.0.await.unwrap_or(Err(Unrecorded::Stopped))
    }
}

/// There is room for all that can come. A writer that is gone drops the message, which the receiver
/// takes for [`Unrecorded::Stopped`].
fn send(
    inbox: &mpsc::Sender<Message>,
    draft: Draft,
    if_late: Option<IfLate>,
    place: Option<OwnedSemaphorePermit>,
) -> oneshot::Receiver<Result<(), Unrecorded>> {
    let (done, receiver) = oneshot::channel();
    drop(inbox.try_send(Message {
        draft,
        if_late,
        done,
        place,
    }));
    receiver
}

fn draw_replica() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Whether the log that is there is the one whose checkpoint was signed.
fn check_tail(tail: &LogTail, config: &RecorderConfig) -> Result<Tree, StartError> {
    let changed = |why: &str| StartError::Changed(why.to_owned());
    let tree = Tree::from_edge(tail.size, tail.edge.clone())
        .ok_or_else(|| changed("hashes of its tree are missing"))?;
    let Some(note) = &tail.checkpoint else {
        return match tail.size {
            0 => Ok(tree),
            _ => Err(changed("it has entries and no checkpoint")),
        };
    };
    let mut keys = config.earlier_log_keys.clone();
    keys.push(config.keys.log.public());
    let checkpoint = SignedCheckpoint::read(note, &keys)
        .map_err(|error| StartError::Changed(error.to_string()))?;
    match (checkpoint.size, checkpoint.root) == (tree.size(), tree.root()) {
        true => Ok(tree),
        false => Err(changed("its entries are not those of its checkpoint")),
    }
}

/// Owns the log.
struct Writer {
    store: Arc<dyn LogStore>,
    state: LogState,
    /// Whether the state is known to be that of the storage: not after a failure.
    is_current: bool,
    /// Whether the storage failed, and has written nothing since.
    in_trouble: bool,
    /// Ends of calls that could not be written.
    owed: VecDeque<Message>,
    origin: String,
    keys: RecordKeys,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Writer {
    /// Closes what a crash left open, and notes that a server began.
    async fn begin(&mut self, started: Started) -> Result<SignedCheckpoint, StartError> {
        let crashed = self.state.open_ids().into_iter();
        let crashed = crashed.map(|id| Draft::Close(id, CallEnd::unknown(Outcome::Crashed)));
        let log_key = LogVerifier::new(&self.origin, self.keys.log.public()).to_string();
        let started = Draft::Started(Started { log_key, ..started });
        let drafts: Vec<_> = crashed.chain([started]).collect();
        // All at once, whatever their number: who is said to have crashed, only a start may say.
        let staged = self.stage(&drafts)?;
        self.store.append(&staged.batch).await?;
        let checkpoint = staged.batch.checkpoint.clone();
        self.state.apply(staged);
        Ok(checkpoint)
    }

    fn stage(&self, drafts: &[Draft]) -> Result<Staged, StartError> {
        let mut staging = self.state.stage(&self.keys, self.now());
        for draft in drafts {
            staging.add(draft).map_err(|_| Unrecorded::TooLong)?;
        }
        Ok(staging.finish(&LogSigner::new(&self.origin, &self.keys.log))?)
    }

    fn now(&self) -> Timestamp {
        (self.clock)().into()
    }

    /// Writes until every recorder and every open record is gone and nothing is owed.
    async fn run(mut self, mut inbox: Inbox, status: watch::Sender<Status>) {
        while let Some(messages) = self.next(&mut inbox).await {
            match self.try_write(&messages).await {
                Ok(Written {
                    results,
                    checkpoint,
                }) => {
                    self.in_trouble = false;
                    // First the checkpoint: whoever is answered may ask for a proof at once.
                    status.send_modify(|status| status.note_good(checkpoint));
                    let answered = messages.into_iter().zip(results);
                    answered.for_each(|(message, result)| message.answer(result));
                }
                Err(error) => self.fail(messages, &error, &status),
            }
        }
    }

    fn fail(
        &mut self,
        messages: Vec<Message>,
        error: &StorageError,
        status: &watch::Sender<Status>,
    ) {
        tracing::error!(%error, "records cannot be written; calls are refused until they can");
        (self.in_trouble, self.is_current) = (true, false);
        let trouble: Arc<str> = error.in_short().into();
        status.send_modify(|status| status.trouble = Some(Arc::clone(&trouble)));
        let owed = messages.into_iter();
        self.owed
            .extend(owed.filter_map(|message| message.fail(&trouble)));
    }

    /// What is to be written next: what is owed, and what came in the meantime. `None` when nothing
    /// is owed and nothing can come.
    async fn next(&mut self, inbox: &mut Inbox) -> Option<Vec<Message>> {
        let first = match self.owed.is_empty() {
            true => Some(inbox.recv().await?),
            // Also when nobody asks any more, what is owed is tried again.
            false => match timeout(RETRY_PAUSE, inbox.recv()).await {
                Ok(Some(message)) => Some(message),
                Ok(None) => {
                    sleep(RETRY_PAUSE).await;
                    None
                }
                Err(_) => None,
            },
        };
        let mut messages: Vec<_> = self.owed.drain(..self.owed.len().min(BATCH_MAX)).collect();
        messages.extend(first);
        // However much is owed, nobody waits longer for it.
        let most = messages.len() + BATCH_MAX;
        while messages.len() < most
            && let Ok(message) = inbox.try_recv()
        {
            messages.push(message);
        }
        Some(messages)
    }

    /// Writes what can be written.
    async fn try_write(&mut self, messages: &[Message]) -> Result<Written, StorageError> {
        self.catch_up(messages).await?;
        let mut staging = self.state.stage(&self.keys, self.now());
        let results = messages
            .iter()
            .map(|message| add(&mut staging, &message.draft))
            .collect();
        if staging.is_empty() {
            // The end of a call that could not begin is no entry. It stays owed until something is
            // durable, or nobody would know that the trouble is over before the next call.
            if self.in_trouble {
                self.store.check_writable().await?;
            }
            return Ok(Written {
                results,
                checkpoint: None,
            });
        }
        let signer = LogSigner::new(&self.origin, &self.keys.log);
        let staged = staging.finish(&signer).map_err(StorageError::new)?;
        self.store.append(&staged.batch).await?;
        let checkpoint = Some(staged.batch.checkpoint.clone());
        self.state.apply(staged);
        Ok(Written {
            results,
            checkpoint,
        })
    }

    /// Asks the storage for what must be known before these can be written.
    async fn catch_up(&mut self, messages: &[Message]) -> Result<(), StorageError> {
        if !self.is_current {
            // What failed may have been written all the same.
            let (tail, open) = (self.store.tail().await?, self.store.open_calls().await?);
            let tree = Tree::from_edge(tail.size, tail.edge)
                .ok_or_else(|| StorageError::new("hashes of its tree are missing"))?;
            let replica = self.state.replica().to_owned();
            self.state = LogState::new(replica, tree, tail.last_at, open);
            self.is_current = true;
        }
        for message in messages {
            if let Draft::Open(new) = &message.draft
                && !self.state.knows_calls_of(&new.key_id_hash)
            {
                let calls = self.store.calls_of(new.key_id_hash.as_deref()).await?;
                self.state.note_calls_of(new.key_id_hash.clone(), calls);
            }
        }
        Ok(())
    }
}

/// What came of messages.
struct Written {
    /// Of each.
    results: Vec<Result<(), Unrecorded>>,
    /// The new one, if there is one.
    checkpoint: Option<SignedCheckpoint>,
}

/// An end that says too much is said in fewer words: a call must not stay open for it.
fn add(staging: &mut Staging<'_>, draft: &Draft) -> Result<(), Unrecorded> {
    let mut added = staging.add(draft);
    if let (Err(NotStaged::TooLong), Draft::Close(id, end)) = (added, draft) {
        added = staging.add(&Draft::Close(id.clone(), end.clone().shortened()));
        if added == Err(NotStaged::TooLong) {
            added = staging.add(&Draft::Close(id.clone(), CallEnd::unknown(end.outcome)));
        }
    }
    added.map_err(|why| match why {
        NotStaged::NotOpen => Unrecorded::NotOpen,
        NotStaged::TooLong => Unrecorded::TooLong,
    })
}

impl Message {
    /// Whoever asked may be gone.
    fn answer(self, result: Result<(), Unrecorded>) {
        drop(self.done.send(result));
    }

    /// Tells that it could not be written. What began is not to begin; what ended is owed, and
    /// keeps its place.
    fn fail(self, trouble: &Arc<str>) -> Option<Self> {
        let Self {
            draft,
            if_late,
            done,
            place,
        } = self;
        drop(done.send(Err(Unrecorded::Storage(Arc::clone(trouble)))));
        let Draft::Close(id, end) = draft else {
            return None;
        };
        let end = match if_late {
            Some(if_late) => if_late(end),
            None => end,
        };
        Some(Self {
            draft: Draft::Close(id, end),
            if_late: None,
            done: oneshot::channel().0,
            place,
        })
    }
}

impl Status {
    fn good(checkpoint: SignedCheckpoint) -> Self {
        Self {
            checkpoint,
            trouble: None,
        }
    }

    fn note_good(&mut self, checkpoint: Option<SignedCheckpoint>) {
        self.trouble = None;
        if let Some(checkpoint) = checkpoint {
            self.checkpoint = checkpoint;
        }
    }
}
