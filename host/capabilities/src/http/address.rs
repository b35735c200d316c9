//! Where connections may go.

use reqwest::Url;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// As it stands in a URL: IPv6 in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Origin {
    /// A base URL with nothing behind host and port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (origin, path) = Self::with_path(text)?;
        if path == "/" {
            Ok(origin)
        } else {
            Err(format!("`{text}` has a path; base URLs have none, paths stand in grants"))
        }
    }

    /// A URL as origin, and path with query.
    pub(crate) fn with_path(text: &str) -> Result<(Self, String), String> {
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("`{text}` is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("the URL on {:?} has a user or password; use a [[secret]]", url.host_str()));
        }
        if url.fragment().is_some() {
            return Err(format!("`{text}` has a fragment"));
        }
        let host = url.host_str().ok_or_else(|| format!("`{text}` has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| format!("`{text}` has no port"))?;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok((Self { tls, host, port }, path))
    }

    /// The host, if it is an address itself.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

/// Which addresses a host's name may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressPolicy {
    ranges: Vec<Range>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Range {
    Public,
    Private,
    Loopback,
    Network(IpAddr, u8),
}

impl AddressPolicy {
    pub(crate) fn new(ranges: &[String]) -> Result<Self, String> {
        if ranges.is_empty() {
            return Ok(Self { ranges: vec![Range::Public] });
        }
        let parse = |text: &String| match text.as_str() {
            "public" => Ok(Range::Public),
            "private" => Ok(Range::Private),
            "loopback" => Ok(Range::Loopback),
            network => parse_network(network).ok_or_else(|| {
                format!("`{network}` is no range; write `public`, `private`, `loopback` or `10.2.0.0/16`")
            }),
        };
        Ok(Self { ranges: ranges.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// # Errors
    /// Why not, in one sentence.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), String> {
        let plain = embedded(address);
        if let Some(what) = never(address).or_else(|| never(plain)) {
            return Err(format!("{address} is {what}, which Salve never calls"));
        }
        let within = self.ranges.iter().any(|range| match range {
            Range::Public => !is_private(plain) && !plain.is_loopback() && !is_special(plain),
            Range::Private => is_private(plain),
            Range::Loopback => plain.is_loopback(),
            Range::Network(network, length) => in_network(plain, *network, *length),
        });
        if within { Ok(()) } else { Err(format!("{address} is in none of the target's `address_ranges`")) }
    }
}

fn parse_network(text: &str) -> Option<Range> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    (length <= bits).then_some(Range::Network(address, length))
}

fn in_network(address: IpAddr, network: IpAddr, length: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

/// The IPv4 address inside of an IPv6 one (mapped, compatible, NAT64 of RFC 6052, 6to4), else the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => address,
    }
}

/// What is never called, whatever a target names.
fn never(address: IpAddr) -> Option<&'static str> {
    /// Metadata services outside of link-local: AWS over IPv6, Alibaba, Azure's wire server, Oracle's.
    const METADATA: [IpAddr; 4] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    ];
    if METADATA.contains(&address) {
        return Some("a cloud metadata address");
    }
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an unspecified address"),
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        // RFC 1918, and the carriers' range of RFC 6598.
        IpAddr::V4(v4) => {
            v4.is_private() || in_network(address, IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0,
    }
}

/// Neither private nor a place of the public network: the special ranges of RFC 6890.
fn is_special(address: IpAddr) -> bool {
    let listed = |network: [u8; 4], length| in_network(address, IpAddr::V4(Ipv4Addr::from(network)), length);
    match address {
        IpAddr::V4(v4) => {
            v4.is_documentation()
                || listed([192, 0, 0, 0], 24)
                || listed([198, 18, 0, 0], 15)
                || listed([240, 0, 0, 0], 4)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 != 0x2000 || v6.segments()[..2] == [0x2001, 0xdb8],
    }
}

/// `address` is one of Salve's own listeners.
pub(crate) fn is_salves_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    let ports = own.iter().any(|listener| listener.port() == address.port());
    // Any address of this machine with a listener's port: a listener on 0.0.0.0 has them all.
    ports && is_local(address.ip())
}

/// A socket can be bound to an address of this machine only.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
        || UdpSocket::bind((address, 0)).is_ok()
        || UdpSocket::bind((embedded(address), 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(ranges: &[&str]) -> AddressPolicy {
        AddressPolicy::new(&ranges.iter().map(|range| (*range).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// Guarantees: link-local, metadata, unspecified and multicast addresses are refused under any ranges and in any
    /// spelling.
    #[test]
    fn never_means_never() {
        let all = policy(&["public", "private", "loopback", "0.0.0.0/0", "::/0"]);
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
        ] {
            assert!(all.check(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    /// Guarantees: private and loopback addresses need their name, in any spelling.
    #[test]
    fn private_by_name_only() {
        for (address, range) in [
            ("127.0.0.1", "loopback"),
            ("127.8.8.8", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("10.1.2.3", "private"),
            ("172.31.0.1", "private"),
            ("192.168.0.1", "private"),
            ("100.64.0.1", "private"),
            ("fd12::1", "private"),
            ("::ffff:10.0.0.1", "private"),
            ("64:ff9b::a00:1", "private"),
            ("10.2.3.4", "10.2.0.0/16"),
            ("1.1.1.1", "public"),
            ("2606:4700::1111", "public"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(policy(&[range]).check(address).is_ok(), "{address} {range}");
            if range != "public" {
                assert!(policy(&[]).check(address).is_err(), "{address}");
            } else {
                assert!(
                    policy(&[]).check(address).is_ok()
                        && policy(&["private", "loopback"]).check(address).is_err()
                );
            }
        }
        assert!(policy(&["10.2.0.0/16"]).check("10.3.0.1".parse().unwrap()).is_err());
        assert!(AddressPolicy::new(&["10.0.0.0/33".into()]).is_err());
        assert!(AddressPolicy::new(&["everywhere".into()]).is_err());
    }

    /// Guarantees: base URLs are scheme, host and port, with no user.
    #[test]
    fn origins() {
        assert_eq!(Origin::parse("https://a.example").unwrap().to_string(), "https://a.example:443");
        assert_eq!(Origin::parse("http://[::1]:8080/").unwrap().literal(), Some("::1".parse().unwrap()));
        for bad in [
            "ftp://a",
            "http://user@a",
            "http://u:p@a",
            "http://a/path",
            "http://a/?q",
            "http://a/#f",
            "a",
            "http://",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    /// Guarantees: Salve's listeners are known under every address of this machine.
    #[test]
    fn own_listeners() {
        let own = ["0.0.0.0:4317".parse().unwrap()];
        for (address, is_own) in [
            ("127.0.0.1:4317", true),
            ("[::1]:4317", true),
            ("127.0.0.1:4319", false),
            ("192.0.2.1:4317", false),
        ] {
            assert_eq!(is_salves_own(address.parse().unwrap(), &own), is_own, "{address}");
        }
    }
}
