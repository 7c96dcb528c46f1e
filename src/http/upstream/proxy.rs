//! Which proxy stands before an upstream, from the variables that every such program knows.
//!
//! Pure: the variables are an argument. `HTTPS_PROXY` counts, else `ALL_PROXY` (each also in small letters), for
//! `https` upstreams only, and `NO_PROXY` names exceptions. Loopback is never reached through a proxy (DESIGN.md §5).

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

/// An HTTP proxy that is asked to CONNECT. Its password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
}

/// Why a proxy's URL cannot be used. The URL may hold a password and so is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyFault {
    #[error("The proxy's URL cannot be parsed.")]
    NotAUrl,
    #[error("Only http:// proxies can be used, and the proxy's URL is of another kind.")]
    UnsupportedScheme,
}

impl Proxy {
    /// Reads `http://user:password@host:port`, where only the host must be given; the port is 80 otherwise.
    pub fn parse(text: &str) -> Result<Self, ProxyFault> {
        let text = text.trim();
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&with_scheme).map_err(|_| ProxyFault::NotAUrl)?;
        if url.scheme() != "http" {
            return Err(ProxyFault::UnsupportedScheme);
        }
        let host = url.host_str().ok_or(ProxyFault::NotAUrl)?.to_owned();
        let port = url.port_or_known_default().ok_or(ProxyFault::NotAUrl)?;
        Ok(Self { host, port, authorization: basic(&url) })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The head that asks for a tunnel to `host`, an IPv6 address in brackets.
    pub(super) fn connect_request(&self, host: &str, port: u16) -> Zeroizing<String> {
        let mut head = Zeroizing::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"));
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.as_str()));
        }
        head.push_str("\r\n");
        head
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorization = if self.authorization.is_some() { ", ***" } else { "" };
        write!(f, "Proxy({self}{authorization})")
    }
}

fn basic(url: &Url) -> Option<Zeroizing<String>> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    let mut pair: Zeroizing<Vec<u8>> = Zeroizing::new(percent_decode_str(url.username()).collect());
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    Some(Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair))))
}

/// The variables, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    proxy: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl ProxySettings {
    /// `variable` looks a name up in the environment. An empty variable counts as absent.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyFault> {
        let first =
            |names: &[&str]| names.iter().filter_map(|name| variable(name)).find(|value| !value.trim().is_empty());
        let proxy = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
        let proxy = proxy.map(|url| Proxy::parse(&url)).transpose()?;
        let exceptions = first(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let separator = |character: char| character == ',' || character.is_whitespace();
        let exceptions = exceptions.split(separator).filter_map(Exception::parse).collect();
        Ok(Self { proxy, exceptions })
    }

    /// The proxy through which `upstream` is reached; `None`: straight.
    pub fn proxy_for(&self, upstream: &Url) -> Option<Proxy> {
        let proxy = self.proxy.as_ref().filter(|_| upstream.scheme() == "https")?;
        let host = Named::of(upstream.host()?);
        let port = upstream.port_or_known_default()?;
        let is_exempt = host.is_loopback() || self.exceptions.iter().any(|exception| exception.covers(&host, port));
        (!is_exempt).then(|| proxy.clone())
    }
}

/// An upstream's host: a name in small letters without the root's dot, or an address.
enum Named {
    Name(String),
    Address(IpAddr),
}

impl Named {
    fn of(host: Host<&str>) -> Self {
        match host {
            Host::Domain(name) => Self::Name(name.trim_end_matches('.').to_ascii_lowercase()),
            Host::Ipv4(address) => Self::Address(address.into()),
            Host::Ipv6(address) => Self::Address(IpAddr::from(address).to_canonical()),
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }
}

/// One entry of `NO_PROXY`. A port, where one is given, must be the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    /// The name itself and everything below it, however it was written (`a.b`, `.a.b`, `*.a.b`).
    Domain {
        name: String,
        port: Option<u16>,
    },
    /// A single address is a network of its full length.
    Network {
        address: IpAddr,
        prefix: u8,
        port: Option<u16>,
    },
}

impl Exception {
    /// `None`: an empty entry, or one that can match nothing.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, prefix)) = network(entry) {
            return Some(Self::Network { address, prefix, port: None });
        }
        let (host, port) = split_port(entry)?;
        if let Ok(address) = bare(host).parse::<IpAddr>() {
            let address = address.to_canonical();
            return Some(Self::Network { address, prefix: length_of(address), port });
        }
        let name = host.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Domain { name, port })
    }

    fn covers(&self, host: &Named, upstream_port: u16) -> bool {
        match (self, host) {
            (Self::Everything, _) => true,
            (Self::Domain { name, port }, Named::Name(host)) => {
                port.is_none_or(|port| port == upstream_port) && is_within(host, name)
            }
            (Self::Network { address, prefix, port }, Named::Address(host)) => {
                port.is_none_or(|port| port == upstream_port) && shares_prefix(*address, *host, *prefix)
            }
            (Self::Domain { .. }, Named::Address(_)) | (Self::Network { .. }, Named::Name(_)) => false,
        }
    }
}

/// Reads an address without a port, or a CIDR.
fn network(entry: &str) -> Option<(IpAddr, u8)> {
    match entry.split_once('/') {
        None => {
            let address = bare(entry).parse::<IpAddr>().ok()?.to_canonical();
            Some((address, length_of(address)))
        }
        Some((address, prefix)) => {
            let address = bare(address).parse::<IpAddr>().ok()?;
            let prefix = prefix.parse().ok().filter(|&prefix| prefix <= length_of(address))?;
            Some((address, prefix))
        }
    }
}

/// Splits `host:port`; an IPv6 address with a port stands in brackets. `None`: the port is no number.
fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => Some((host, Some(port.parse().ok()?))),
        _ => Some((entry, None)),
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Bits.
fn length_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn shares_prefix(network: IpAddr, host: IpAddr, prefix: u8) -> bool {
    let (differing, length) = match (network, host) {
        (IpAddr::V4(network), IpAddr::V4(host)) => (u128::from(network.to_bits() ^ host.to_bits()), 32),
        (IpAddr::V6(network), IpAddr::V6(host)) => (network.to_bits() ^ host.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing.checked_shr(length - u32::from(prefix)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<ProxySettings, ProxyFault> {
        ProxySettings::from_variables(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        })
    }

    fn chosen(variables: &[(&str, &str)], upstream: &str) -> Option<String> {
        let upstream = Url::parse(upstream).unwrap();
        settings(variables).unwrap().proxy_for(&upstream).map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_first_variable_that_is_not_empty_names_the_proxy() {
        type Variables = &'static [(&'static str, &'static str)];
        let table: &[(Variables, Option<&str>)] = &[
            (&[], None),
            (&[("HTTPS_PROXY", "http://one:3128")], Some("one:3128")),
            (&[("https_proxy", "http://one:3128")], Some("one:3128")),
            (&[("ALL_PROXY", "http://all:1")], Some("all:1")),
            (&[("all_proxy", "http://all:1")], Some("all:1")),
            (&[("HTTPS_PROXY", "http://one:1"), ("https_proxy", "http://two:2")], Some("one:1")),
            (&[("https_proxy", "http://one:1"), ("ALL_PROXY", "http://all:2")], Some("one:1")),
            (&[("HTTPS_PROXY", ""), ("ALL_PROXY", "http://all:2")], Some("all:2")),
            (&[("HTTP_PROXY", "http://plain:1")], None),
            (&[("HTTPS_PROXY", "one:3128")], Some("one:3128")),
            (&[("HTTPS_PROXY", "http://one/")], Some("one:80")),
            (&[("HTTPS_PROXY", " http://user:secret@one:3128 ")], Some("one:3128")),
            (&[("HTTPS_PROXY", "http://[::1]:3128")], Some("[::1]:3128")),
        ];
        for (variables, expected) in table {
            let proxy = chosen(variables, "https://api.example.com/v1");
            assert_eq!(proxy.as_deref(), *expected, "{variables:?}");
        }
    }

    #[test]
    fn plain_http_and_loopback_upstreams_are_reached_straight() {
        let variables = [("HTTPS_PROXY", "http://one:3128")];
        for upstream in [
            "http://api.example.com/v1",
            "https://localhost:8443/",
            "https://LocalHost/",
            "https://model.localhost/",
            "https://127.0.0.1/",
            "https://127.9.9.9:1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(chosen(&variables, upstream), None, "{upstream}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_ports_and_networks() {
        let table = [
            ("*", "https://api.example.com/", true),
            ("api.example.com", "https://api.example.com/", true),
            ("API.Example.COM", "https://api.example.com/", true),
            ("api.example.com", "https://API.example.com./", true),
            ("example.com", "https://api.example.com/", true),
            (".example.com", "https://api.example.com/", true),
            (".example.com", "https://example.com/", true),
            ("*.example.com", "https://api.example.com/", true),
            ("example.com", "https://notexample.com/", false),
            ("api.example.com", "https://example.com/", false),
            ("other.com, example.com", "https://api.example.com/", true),
            ("other.com example.com", "https://api.example.com/", true),
            ("example.com:443", "https://api.example.com/", true),
            ("example.com:8443", "https://api.example.com/", false),
            ("example.com:8443", "https://api.example.com:8443/", true),
            ("example.com:https", "https://api.example.com/", false),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.4/", false),
            ("10.1.2.3:443", "https://10.1.2.3/", true),
            ("10.1.2.3:444", "https://10.1.2.3/", false),
            ("10.0.0.0/8", "https://10.200.2.3/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("0.0.0.0/0", "https://11.0.0.1/", true),
            ("10.1.2.3/32", "https://10.1.2.3/", true),
            ("10.0.0.0/33", "https://10.0.0.0/", false),
            ("10.0.0.0/8", "https://api.example.com/", false),
            ("fd00::/8", "https://[fd12::1]/", true),
            ("fd00::/8", "https://[fe80::1]/", false),
            ("::/0", "https://[fe80::1]/", true),
            ("fd12::1", "https://[fd12::1]/", true),
            ("[fd12::1]", "https://[fd12::1]/", true),
            ("[fd12::1]:443", "https://[fd12::1]/", true),
            ("[fd12::1]:444", "https://[fd12::1]/", false),
            ("::ffff:10.1.2.3", "https://10.1.2.3/", true),
            ("", "https://api.example.com/", false),
            (" , . ,*., :443", "https://api.example.com/", false),
        ];
        for (exceptions, upstream, is_straight) in table {
            let variables = [("HTTPS_PROXY", "http://one:3128"), ("no_proxy", exceptions)];
            assert_eq!(chosen(&variables, upstream).is_none(), is_straight, "{exceptions} for {upstream}");
        }
    }

    #[test]
    fn a_proxy_of_another_kind_is_a_fault_that_does_not_repeat_its_url() {
        let table = [
            ("socks5://user:secret@one:1080", ProxyFault::UnsupportedScheme),
            ("https://user:secret@one:1080", ProxyFault::UnsupportedScheme),
            ("http://user:secret@one:notaport", ProxyFault::NotAUrl),
            ("http://", ProxyFault::NotAUrl),
        ];
        for (url, expected) in table {
            let fault = settings(&[("HTTPS_PROXY", url)]).unwrap_err();
            assert_eq!(fault, expected, "{url}");
            assert!(!format!("{fault} {fault:?}").contains("secret"));
        }
    }

    #[test]
    fn userinfo_becomes_basic_and_is_never_printed() {
        let proxy = Proxy::parse("http://us%40er:s%3Acret@one:3128").unwrap();
        let expected = format!("Proxy-Authorization: Basic {}\r\n\r\n", BASE64_STANDARD.encode("us@er:s:cret"));
        let head = proxy.connect_request("api.example.com", 443);
        assert!(head.starts_with("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n"));
        assert!(head.ends_with(&expected));
        assert_eq!(format!("{proxy} {proxy:?}"), "one:3128 Proxy(one:3128, ***)");
        assert!(!Proxy::parse("http://one").unwrap().connect_request("a", 1).contains("Authorization"));
    }
}
