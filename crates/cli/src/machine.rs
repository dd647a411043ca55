//! What this machine has.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Cores and memory that this process may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) available_bytes: u64,
}

impl Machine {
    /// Looks now. The limits of a container count, where there is one.
    pub(crate) fn look() -> Self {
        let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(memory);
        let container = system.cgroup_limits();
        let limited =
            |whole: u64, limit: Option<u64>| limit.map_or(whole, |limit| limit.min(whole));
        let total = container.as_ref().map(|limits| limits.total_memory);
        // What it calls free leaves out the page cache, which makes room when asked to.
        let available = container
            .as_ref()
            .map(|limits| limits.total_memory.saturating_sub(limits.rss));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: limited(system.total_memory(), total),
            available_bytes: limited(system.available_memory(), available),
        }
    }
}
