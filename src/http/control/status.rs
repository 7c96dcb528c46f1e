//! What `claudette status` shows: a view that the Supervisor publishes, rendered when somebody asks (DESIGN.md §4).
//!
//! The view holds the live counters themselves, so a report is as fresh as its request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::http::gateway::Activity;
use crate::http::upstream::BackendState;

/// What is known when the Supervisor publishes; the rest is read from the counters in it.
pub struct StatusView {
    pub revision: u64,
    pub started: Instant,
    pub backends: Vec<BackendView>,
    pub gateways: Vec<GatewayView>,
    pub sessions: Vec<SessionReport>,
    /// Where to look for more.
    pub log: String,
}

pub struct BackendView {
    pub id: String,
    pub kind: &'static str,
    pub enabled: bool,
    pub default_model: Option<String>,
    pub state: Option<Arc<BackendState>>,
}

pub struct GatewayView {
    pub backend: String,
    pub model: Option<String>,
    pub state: &'static str,
    pub generation: u64,
    pub current: bool,
    pub address: Option<SocketAddr>,
    pub leases: usize,
    pub restarts: u64,
    pub replaced: u64,
    pub cause: Option<String>,
    pub activity: Option<Arc<Activity>>,
}

/// The one object of `status --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub pid: u32,
    pub revision: u64,
    pub uptime_s: u64,
    pub backends: Vec<BackendReport>,
    pub gateways: Vec<GatewayReport>,
    /// Sessions are configured under `[sessions.NAME]`.
    pub sessions: Vec<SessionReport>,
    pub usage: Vec<UsageReport>,
    pub last_errors: Vec<ErrorReport>,
    pub log: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct BackendReport {
    pub id: String,
    pub kind: String,
    pub enabled: bool,
    pub default_model: Option<String>,
    pub models: usize,
    pub last_error: Option<String>,
    pub quota: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct GatewayReport {
    pub backend: String,
    pub model: Option<String>,
    pub state: String,
    pub generation: u64,
    pub current: bool,
    pub address: Option<String>,
    pub leases: usize,
    pub requests_running: u64,
    pub requests_total: u64,
    pub restarts: u64,
    pub replaced: u64,
    pub cause: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionReport {
    pub name: String,
    /// `idle`, `running`, `backing_off`, `quarantined`, `stopping` or `blocked`.
    pub state: String,
    pub backend: String,
    /// Absent: the backend's default.
    pub model: Option<String>,
    /// Ever started.
    pub turns: u64,
    /// The id by which `claude` knows it.
    pub conversation: Option<String>,
    pub last_turn: Option<LastTurn>,
    /// The folder that they are in.
    pub transcripts: String,
}

/// How a session's last turn ended, and what it used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastTurn {
    /// Its number, which names its transcript.
    pub turn: u64,
    /// The subtype of `claude`'s result, or why there was none.
    pub outcome: String,
    pub is_error: bool,
    /// Seconds since 1970.
    pub ended: u64,
    pub duration_ms: u64,
    pub tools: u64,
    /// Not from a cache.
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    /// US dollars at Anthropic's prices, as `claude` believes.
    pub cost_usd: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct UsageReport {
    pub backend: String,
    pub requests: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub errors: std::collections::BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorReport {
    /// Seconds since 1970.
    pub time: u64,
    pub backend: String,
    pub status: u16,
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
}

impl StatusView {
    pub fn empty() -> Self {
        Self {
            revision: 0,
            started: Instant::now(),
            backends: Vec::new(),
            gateways: Vec::new(),
            sessions: Vec::new(),
            log: String::new(),
        }
    }

    pub fn report(&self) -> Report {
        Report {
            pid: std::process::id(),
            revision: self.revision,
            uptime_s: self.started.elapsed().as_secs(),
            backends: self.backends.iter().map(BackendView::report).collect(),
            gateways: self.gateways.iter().map(GatewayView::report).collect(),
            sessions: self.sessions.clone(),
            usage: self.backends.iter().filter_map(BackendView::usage).collect(),
            last_errors: self.last_errors(),
            log: self.log.clone(),
        }
    }

    fn last_errors(&self) -> Vec<ErrorReport> {
        let mut errors: Vec<ErrorReport> = self.backends.iter().flat_map(BackendView::errors).collect();
        errors.sort_by_key(|error| std::cmp::Reverse(error.time));
        errors.truncate(20);
        errors
    }
}

impl BackendView {
    fn report(&self) -> BackendReport {
        BackendReport {
            id: self.id.clone(),
            kind: self.kind.to_owned(),
            enabled: self.enabled,
            default_model: self.default_model.clone(),
            models: self.state.as_ref().map_or(0, |state| state.models().len()),
            last_error: self.errors().into_iter().max_by_key(|error| error.time).map(|error| error.message),
            quota: self.state.as_ref().and_then(|state| state.quota()).map(|quota| quota.to_string()),
        }
    }

    fn usage(&self) -> Option<UsageReport> {
        let usage = self.state.as_ref()?.usage();
        Some(UsageReport {
            backend: self.id.clone(),
            requests: usage.requests,
            input_tokens: usage.tokens.input,
            cached_input_tokens: usage.tokens.cached,
            output_tokens: usage.tokens.output,
            reasoning_tokens: usage.tokens.reasoning,
            errors: usage.errors.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
        })
    }

    fn errors(&self) -> Vec<ErrorReport> {
        let errors = self.state.as_ref().map(|state| state.last_errors()).unwrap_or_default();
        errors
            .into_iter()
            .map(|error| ErrorReport {
                time: error.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
                backend: self.id.clone(),
                status: error.status,
                kind: error.kind.as_str().to_owned(),
                message: error.message,
            })
            .collect()
    }
}

impl GatewayView {
    fn report(&self) -> GatewayReport {
        GatewayReport {
            backend: self.backend.clone(),
            model: self.model.clone(),
            state: self.state.to_owned(),
            generation: self.generation,
            current: self.current,
            address: self.address.map(|address| format!("http://{address}")),
            leases: self.leases,
            requests_running: self.activity.as_ref().map_or(0, |activity| activity.running()),
            requests_total: self.activity.as_ref().map_or(0, |activity| activity.total()),
            restarts: self.restarts,
            replaced: self.replaced,
            cause: self.cause.clone(),
        }
    }
}
