//! Where workers are: `grpc://host:port`.

use std::net::{IpAddr, SocketAddr};

use crate::error::{DriverError, Result};

/// `host:port` of a location.
///
/// # Errors
/// It is malformed.
pub fn authority<'a>(id: &str, location: &'a str) -> Result<&'a str> {
    let authority = location.strip_prefix("grpc://").or_else(|| location.strip_prefix("grpc+tcp://"));
    authority
        .filter(|authority| authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()))
        .ok_or_else(|| {
            DriverError::Invalid(format!("worker '{id}': location '{location}' is not of the form grpc://host:port"))
        })
}

/// Where a worker is that calls from `peer` and listens on `port`.
pub fn of_peer(peer: IpAddr, port: u16) -> String {
    format!("grpc://{}", SocketAddr::new(peer.to_canonical(), port))
}

/// Whether that is the driver's own machine, as the address says.
pub fn is_here(location: &str) -> bool {
    let authority = location.rsplit_once("//").map_or(location, |(_, authority)| authority);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_of_peers() {
        assert_eq!(of_peer("::ffff:10.0.0.7".parse().unwrap(), 8816), "grpc://10.0.0.7:8816");
        let six = of_peer("::1".parse().unwrap(), 8816);
        assert_eq!(six, "grpc://[::1]:8816");
        assert!(is_here(&six) && is_here("grpc://localhost:1") && !is_here("grpc://10.0.0.7:8816"));
        assert_eq!(authority("w", &six).unwrap(), "[::1]:8816");
        assert!(authority("w", "grpc://host").is_err());
    }
}
