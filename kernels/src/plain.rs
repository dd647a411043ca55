//! Plain loops or fast ones.
//!
//! On the CPU an op runs its `fast.rs` where it has one. `cpu.rs` is what that, and the kernels, are
//! held to: tests ask for it.

#[cfg(feature = "emulation")]
use std::cell::Cell;

#[cfg(feature = "emulation")]
thread_local! {
    static ASKED_FOR: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with plain loops only: every op on CPU tensors that this thread calls meanwhile.
#[cfg(feature = "emulation")]
pub fn with_plain_loops<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ASKED_FOR.set(self.0);
        }
    }
    let _restore = Restore(ASKED_FOR.replace(true));
    work()
}

/// Whether this thread is within [`with_plain_loops`].
#[cfg(feature = "emulation")]
pub(crate) fn is_asked_for() -> bool {
    ASKED_FOR.get()
}

#[cfg(not(feature = "emulation"))]
pub(crate) fn is_asked_for() -> bool {
    false
}
