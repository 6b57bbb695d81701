//! What the configuration's defaults depend on: the cores that we may use, and the host's name.

/// The machine as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Numbers of the cores in our affinity mask, ascending; at least one. Only these can be
    /// pinned to.
    pub cores: Vec<usize>,
    /// Whole cores' worth of time that a control group grants, if that is less than `cores`. Which
    /// cores it is spent on is the kernel's choice, so nothing is pinned then: every container of
    /// a host would pin to the same few.
    pub cores_quota: Option<usize>,
    /// Name of the host; empty if it has none that is UTF-8.
    pub host_name: String,
}

impl Machine {
    /// Asks the kernel.
    #[must_use]
    pub fn read() -> Machine {
        // reads mask and quota (cgroup v1 and v2, every level), rounded down, at least one
        let granted_count = std::thread::available_parallelism().map_or(1, usize::from);
        // the mask has room for 1,024 cores; past that the kernel refuses the call
        let cores = affinity_mask()
            .filter(|cores| !cores.is_empty())
            .unwrap_or_else(|| (0..granted_count).collect());
        Machine {
            cores_quota: Some(granted_count).filter(|count| *count < cores.len()),
            cores,
            host_name: nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok())
                .unwrap_or_default(),
        }
    }

    /// How many threads can run at once.
    #[must_use]
    pub fn cores_usable(&self) -> usize {
        self.cores_quota.unwrap_or(self.cores.len()).max(1)
    }
}

fn affinity_mask() -> Option<Vec<usize>> {
    let this_thread = nix::unistd::Pid::from_raw(0);
    let mask = nix::sched::sched_getaffinity(this_thread).ok()?;
    let cores = (0..nix::sched::CpuSet::count()).filter(|core| mask.is_set(*core) == Ok(true));
    Some(cores.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_core() {
        let machine = Machine::read();
        assert!(!machine.cores.is_empty());
        assert!(machine.cores.is_sorted());
        assert!((1..=machine.cores.len()).contains(&machine.cores_usable()));
        assert!(
            machine
                .cores_quota
                .is_none_or(|quota| quota < machine.cores.len())
        );
    }
}
