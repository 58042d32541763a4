//! Where a connection comes from, as coarsely as each use needs it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The address of a peer. An IPv4 address inside IPv6 (RFC 4291 section 2.5.5.2) is the IPv4 address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Source(IpAddr);

/// A group of addresses: `192.0.2.0/24` or `2001:db8::/48`. Records hold this, not an address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SourcePrefix(IpAddr);

impl Source {
    pub(crate) const fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// What one connection limit counts: an IPv4 address, or the /64 that one IPv6 host may use as it likes.
    pub(crate) const fn host(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => IpAddr::V6(masked(address, 64)),
        }
    }

    /// The /24 or /48 around it.
    pub(crate) const fn prefix(self) -> SourcePrefix {
        SourcePrefix(match self.0 {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & 0xffff_ff00)),
            IpAddr::V6(address) => IpAddr::V6(masked(address, 48)),
        })
    }
}

const fn masked(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits)))
}

impl fmt::Display for SourcePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}/24"),
            IpAddr::V6(address) => write!(f, "{address}/48"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, host: &str, prefix: &str) {
        let source = Source::new(address.parse().unwrap());
        assert_eq!(source.host().to_string(), host);
        assert_eq!(source.prefix().to_string(), prefix);
    }

    #[test]
    fn sources_are_grouped() {
        check("192.0.2.77", "192.0.2.77", "192.0.2.0/24");
        check("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::/48");
    }
}
