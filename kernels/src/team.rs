//! Threads that share the work of one op.
//!
//! A decoding step is hundreds of ops of some tens of microseconds each. To wake a sleeping thread
//! takes as long, so the helpers look out for the next op for a while before they go to sleep.
//! Whoever calls works along, and waits for nobody who has not begun.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;

/// How often a helper looks for work before it sleeps: some 100 µs.
const LOOKS: usize = 2_000;

/// Calls `work` with each of `0..jobs`, on several threads, in any order.
///
/// A call while another is under way does all its work itself.
pub(crate) fn run(jobs: usize, work: impl Fn(usize) + Sync) {
    static TEAM: OnceLock<Team> = OnceLock::new();
    let team = TEAM.get_or_init(Team::new);
    match team.turn.try_lock() {
        Ok(_turn) if jobs > 1 => team.run(jobs, &work),
        // A panic in an earlier call has left nothing half done.
        Err(std::sync::TryLockError::Poisoned(poisoned)) if jobs > 1 => {
            let _turn = poisoned.into_inner();
            team.run(jobs, &work);
        }
        _ => (0..jobs).for_each(work),
    }
}

/// How many threads work on an op.
pub(crate) fn size() -> usize {
    rayon::current_num_threads()
}

struct Team {
    /// Held by the call that has the helpers.
    turn: Mutex<()>,
    shared: &'static Shared,
}

/// Bits of [`Shared::state`]: who is at work, whether more may join, and which call it is.
const OPEN: usize = 1 << 15;
const HELPERS: usize = OPEN - 1;
const CALL: usize = 1 << 16;

struct Shared {
    state: AtomicUsize,
    /// The next job that nobody has taken.
    next: AtomicUsize,
    call: Mutex<Call>,
    failed: AtomicBool,
    helpers: OnceLock<Vec<Helper>>,
}

/// What is to be done now.
#[derive(Clone, Copy)]
struct Call {
    jobs: usize,
    work: &'static (dyn Fn(usize) + Sync),
}

struct Helper {
    thread: Thread,
    asleep: &'static AtomicBool,
}

impl Team {
    fn new() -> Self {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            state: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            call: Mutex::new(Call {
                jobs: 0,
                work: &|_| {},
            }),
            failed: AtomicBool::new(false),
            helpers: OnceLock::new(),
        }));
        // A thread that cannot be had is done without.
        let helpers = (1..size()).filter_map(|_| Helper::spawn(shared).ok());
        shared.helpers.get_or_init(|| helpers.collect());
        Self {
            turn: Mutex::new(()),
            shared,
        }
    }

    fn run(&self, jobs: usize, work: &(dyn Fn(usize) + Sync)) {
        let shared = self.shared;
        // SAFETY: helpers use `work` only between joining and leaving the call, and `Closing`
        // waits, on panic too, until all that have joined have left and no more can join.
        #[expect(unsafe_code, reason = "work that is borrowed for the call alone")]
        let work = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work)
        };
        let call = Call { jobs, work };
        *shared.call.lock().unwrap_or_else(PoisonError::into_inner) = call;
        shared.next.store(0, Ordering::Relaxed);
        shared.failed.store(false, Ordering::Relaxed);
        let closing = Closing(shared);
        shared.open();
        shared.work_on(call);
        drop(closing);
        let failed = shared.failed.swap(false, Ordering::Relaxed);
        assert!(!failed, "a helper panicked; see its message above");
    }
}

/// Ends the call: nobody may join any more, and those at work are waited for.
struct Closing(&'static Shared);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        // Nobody starts another job, so that a caller that panics does not wait for all of them.
        self.0.next.store(usize::MAX / 2, Ordering::Relaxed);
        while self.0.state.load(Ordering::Acquire) & HELPERS != 0 {
            std::hint::spin_loop();
        }
    }
}

impl Shared {
    /// Lets helpers join, and wakes those that sleep.
    fn open(&self) {
        let call = (self.state.load(Ordering::Relaxed) / CALL).wrapping_add(1);
        // Sequentially consistent, as is the helper's look after it has said that it sleeps: one
        // of the two sees the other.
        self.state
            .store(call.wrapping_mul(CALL) | OPEN, Ordering::SeqCst);
        for helper in self.helpers.get().into_iter().flatten() {
            if helper.asleep.load(Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
    }

    fn work_on(&self, Call { jobs, work }: Call) {
        loop {
            match self.next.fetch_add(1, Ordering::Relaxed) {
                job if job < jobs => work(job),
                _ => return,
            }
        }
    }

    /// Joins the call under way, unless it is the one that `last` was.
    fn join(&self, last: usize, order: Ordering) -> Option<usize> {
        let state = self.state.load(order);
        if state & OPEN == 0 || state / CALL == last {
            return None;
        }
        let joined =
            self.state
                .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
        joined.ok().map(|state| state / CALL)
    }

    fn help(&self) {
        let call = *self.call.lock().unwrap_or_else(PoisonError::into_inner);
        // The caller hears of a panic; this thread lives on.
        let result = catch_unwind(AssertUnwindSafe(|| self.work_on(call)));
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.state.fetch_sub(1, Ordering::Release);
    }
}

impl Helper {
    fn spawn(shared: &'static Shared) -> std::io::Result<Self> {
        let asleep: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let builder = std::thread::Builder::new().name("kernels".into());
        let handle = builder.spawn(move || stand_by(shared, asleep))?;
        Ok(Self {
            thread: handle.thread().clone(),
            asleep,
        })
    }
}

/// A helper's life.
fn stand_by(shared: &Shared, asleep: &AtomicBool) -> ! {
    let mut last = 0;
    loop {
        last = await_call(shared, asleep, last);
        shared.help();
    }
}

fn await_call(shared: &Shared, asleep: &AtomicBool, last: usize) -> usize {
    for _ in 0..LOOKS {
        if let Some(call) = shared.join(last, Ordering::Acquire) {
            return call;
        }
        std::hint::spin_loop();
    }
    loop {
        asleep.store(true, Ordering::SeqCst);
        let joined = shared.join(last, Ordering::SeqCst);
        if joined.is_none() {
            std::thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
        if let Some(call) = joined.or_else(|| shared.join(last, Ordering::Acquire)) {
            return call;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        for jobs in [0, 1, 2, 3, 100] {
            for _ in 0..200 {
                let done: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
                run(jobs, |job| {
                    done[job].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|times| times.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn callers_do_not_disturb_one_another() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let sum = AtomicUsize::new(0);
                        run(10, |job| {
                            sum.fetch_add(job, Ordering::Relaxed);
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), 45);
                    }
                });
            }
        });
    }

    #[test]
    fn a_call_within_a_call_is_done() {
        let sum = AtomicUsize::new(0);
        run(3, |_| {
            run(4, |job| {
                sum.fetch_add(job, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.load(Ordering::Relaxed), 18);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_ends_there() {
        for _ in 0..20 {
            let panicked = catch_unwind(|| run(50, |job| assert_ne!(job, 20)));
            assert!(panicked.is_err());
            run(10, |_| {});
        }
    }
}
