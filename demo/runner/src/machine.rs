//! How much of its processors the machine had: what others take from a virtual machine makes every service on it slow.

/// Processor time since the start of the machine, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessorTime {
    wanted: u64,
    stolen: u64,
}

impl ProcessorTime {
    /// As it is now; none where the system does not say.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The line of all processors: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else { return None };
        Some(Self { wanted: user + nice + system + irq + softirq + stolen, stolen })
    }

    /// Share of the time since `before` in which the machine had something to do that others took, 0 to 1.
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let wanted = self.wanted.saturating_sub(before.wanted);
        if wanted == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / wanted as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: idle time counts neither way; what is not as described is none.
    #[test]
    fn share_of_what_was_wanted() {
        let before = ProcessorTime::parse("cpu  100 0 20 5000 7 0 1 40 0 0\ncpu0 1 2 3\n").unwrap();
        let after = ProcessorTime::parse("cpu  150 0 30 9000 9 0 1 100 0 0\n").unwrap();
        assert_eq!(after.stolen_since(before), 0.5);
        assert_eq!(before.stolen_since(before), 0.0);
        assert!(ProcessorTime::parse("cpu 1 2 3").is_none());
        assert!(ProcessorTime::parse("intr 1").is_none());
        assert!(ProcessorTime::now().is_some());
    }
}
