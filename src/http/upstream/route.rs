//! From a backend's settings to the way there: its target, and the headers of every request to it.
//!
//! The header list is ours plus the backend's own `headers`; no header of a client is ever forwarded (WIRE.md Q0.1).

use std::time::Duration;

use super::credential::Credential;
use super::{HeaderName, HeaderValue, ProxyFault, ProxySettings, Target};
use crate::settings::{Backend, UpstreamSettings};

/// Some local servers close an idle connection after 5 s (WIRE.md R-X2).
const POOL_IDLE_CUSTOM: Duration = Duration::from_secs(4);
/// The vendors' front ends keep connections for minutes.
const POOL_IDLE: Duration = Duration::from_secs(60);

const USER_AGENT: &str = concat!("claudette/", env!("CARGO_PKG_VERSION"));

/// How `backend` is reached. The proxy is the process's own, for https upstreams only (DESIGN.md §5).
///
/// # Errors
/// The environment names a proxy that cannot be used.
pub fn target(backend: &Backend, settings: &UpstreamSettings) -> Result<Target, ProxyFault> {
    let proxies = ProxySettings::from_variables(|name| std::env::var(name).ok())?;
    Ok(Target {
        base_url: backend.base_url.clone(),
        ca_file: backend.ca_file.clone(),
        proxy: proxies.proxy_for(&backend.base_url),
        connect_timeout: settings.connect_timeout,
        pool_idle: if backend.profile.is_custom() { POOL_IDLE_CUSTOM } else { POOL_IDLE },
    })
}

/// The headers of a request to `backend`, but for what belongs to its body.
pub fn headers(backend: &Backend, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(4 + backend.headers.len());
    headers.push((HeaderName::from_static("user-agent"), HeaderValue::from_static(USER_AGENT)));
    headers.push((HeaderName::from_static("accept"), HeaderValue::from_static("application/json, text/event-stream")));
    if let Some(value) = credential.authorization() {
        headers.push((HeaderName::from_static("authorization"), value));
    }
    for (name, value) in &backend.headers {
        // Both were checked with the config; one that cannot be sent is left out rather than sent wrong.
        let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose())) else {
            continue;
        };
        value.set_sensitive(true);
        headers.retain(|(other, _)| *other != name);
        headers.push((name, value));
    }
    headers
}
