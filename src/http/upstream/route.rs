//! From a backend's settings to the way there: its target, and the headers of every request to it.
//!
//! The header list is ours plus the backend's own `headers`; no header of a client is ever forwarded (WIRE.md Q0.1).

use std::time::Duration;

use super::credential::Credential;
use super::{HeaderName, HeaderValue, ProxyFault, ProxySettings, Target};
use crate::providers::codex::headers as codex;
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

/// What a request to a codex backend says beside who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner<'a> {
    /// Of the installed CLI; absent: the one that we know.
    pub client_version: Option<&'a str>,
    /// The body's `prompt_cache_key` (WIRE.md Q-P8).
    pub cache_key: Option<&'a str>,
    pub lite: bool,
}

/// What a codex backend wants beside [`headers`] (CODEX.md §1.2); nothing for another one.
pub fn codex_headers(
    backend: &Backend,
    credential: &Credential,
    manner: &Manner<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(codex) = &backend.codex else { return Vec::new() };
    let request = codex::Request {
        originator: &codex.originator,
        client_version: manner.client_version.unwrap_or(codex::KNOWN_CLIENT_VERSION),
        account: credential.account(),
        fedramp: credential.fedramp(),
        route: credential.route(),
        cache_key: manner.cache_key,
        lite: manner.lite,
    };
    let is_own = |name: &str| backend.headers.iter().any(|(own, _)| own == name);
    let wanted = request.headers().into_iter().filter(|(name, _)| !is_own(name));
    // What cannot stand in a header is left out rather than sent wrong.
    wanted
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)))
        .collect()
}

/// Where responses are made, behind the `base_url` (WIRE.md §0).
pub fn responses_path(backend: &Backend) -> &'static str {
    match backend.codex {
        Some(_) => "/codex/responses",
        None => "/responses",
    }
}

/// How `backend` is reached by way of another origin: that of its workspace.
///
/// # Errors
/// As [`target`], and for an origin that is none.
pub fn routed_target(backend: &Backend, origin: &str, settings: &UpstreamSettings) -> Result<Target, String> {
    let mut elsewhere = backend.clone();
    let origin = origin.trim_end_matches('/');
    let url = format!("{origin}{}", backend.base_url.path());
    elsewhere.base_url = url.parse().map_err(|fault| format!("{url}: {fault}"))?;
    target(&elsewhere, settings).map_err(|fault| fault.to_string())
}
