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
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: limited(
                system.total_memory(),
                container.as_ref().map(|c| c.total_memory),
            ),
            available_bytes: limited(
                system.available_memory(),
                container.as_ref().map(|c| c.free_memory),
            ),
        }
    }
}
