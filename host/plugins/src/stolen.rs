//! Processor time that others took from a virtual machine. A thread that is stopped with its processor is told, in part, that it
//! computed meanwhile; a guest is not to blame for that.

/// Stolen from all processors since the start of the machine, in nanoseconds; 0 where the system does not say.
pub(crate) fn total_ns() -> u64 {
    std::fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text)).map_or(0, |ticks| {
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        ticks.saturating_mul(tick_ns)
    })
}

/// The eighth number of the line of all processors (proc_stat(5)).
fn ticks(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    line.split_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the right number is read, and what is not as described is none.
    #[test]
    fn what_the_system_says() {
        assert_eq!(ticks("cpu  100 0 20 5000 7 0 1 40 9 8\ncpu0 1 2 3\n"), Some(40));
        assert_eq!(ticks("cpu  100 0 20 5000 7 0 1\n"), None);
        assert_eq!(ticks("cpu0 1 2 3 4 5 6 7 8\n"), None);
        assert!(ticks(&std::fs::read_to_string("/proc/stat").unwrap()).is_some());
    }
}
