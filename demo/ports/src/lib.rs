//! Loopback ports for servers that start later, or again: nothing else takes them in between.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, PoisonError},
};

/// The lowest port given out; well-known servers listen below it.
const LOWEST: u16 = 10_000;

/// The first port that Linux gives to sockets that name none, unless it is told otherwise (`ip-sysctl`, `ip_local_port_range`).
const CHOSEN_FROM: u16 = 32_768;

/// `N` loopback ports that nobody listens on, below those that the system chooses by itself; none is given twice by one process.
///
/// # Errors
/// If there are not so many.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = one()?;
    }
    Ok(ports)
}

/// Ports are given out in turn, from one that each process draws for itself, as tests run in several.
fn one() -> io::Result<u16> {
    static LAST: Mutex<Option<u16>> = Mutex::new(None);
    let end = chosen_from().max(LOWEST + 1);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in LOWEST..end {
        let next = match *last {
            Some(port) if port + 1 < end => port + 1,
            Some(_) => LOWEST,
            None => fastrand::Rng::new().u16(LOWEST..end),
        };
        *last = Some(next);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, next)).is_ok() {
            return Ok(next);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no loopback port is free"))
}

fn chosen_from() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(CHOSEN_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Guarantees: ports are distinct, free, below those that the system chooses, and passed over while somebody listens.
    #[test]
    fn ports_are_free_and_nobody_elses() {
        let ports = free::<20>().unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        for port in ports {
            assert!((LOWEST..chosen_from()).contains(&port), "{port}");
            drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        }
        let taken: Vec<_> = (20..30)
            .filter_map(|ahead| TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0] + ahead)).ok())
            .collect();
        let next = free::<20>().unwrap();
        for listener in &taken {
            assert!(!next.contains(&listener.local_addr().unwrap().port()));
        }
    }
}
