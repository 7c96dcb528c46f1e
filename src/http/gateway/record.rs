//! What is said of one request in the log: `request.finished`, exactly once, however the request ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::info;

use super::{GatewayContext, Running};
use crate::http::upstream::BackendState;
use crate::http::upstream::state::{RecordedError, Tokens};
use crate::providers::anthropic::events::StopReason;
use crate::providers::translate::response::Summary;
use crate::providers::translate::{ApiError, Dropped, ErrorKind};

/// The status that the log shows for a client that hung up before it had an answer.
const CLIENT_CLOSED: u16 = 499;

/// The log line of one request, filled while it runs and written when the last holder lets go.
#[derive(Clone)]
pub struct Record(Rc<RefCell<Line>>);

struct Line {
    context: Arc<GatewayContext>,
    began: Instant,
    requested_model: String,
    upstream_model: String,
    backend: String,
    status: Option<u16>,
    first_byte: Option<Instant>,
    summary: Summary,
    upstream_request_id: String,
    session_id: String,
    agent_id: String,
    dropped: Vec<String>,
    error: Option<(ErrorKind, String)>,
    state: Option<Arc<BackendState>>,
    /// Absent: the request was not let in, and must neither count as use nor keep the gateway alive.
    running: Option<Running>,
}

impl Record {
    /// A request that is let in. Whatever becomes of it is told of its slot's backend, until it goes to another one.
    pub fn begin(context: Arc<GatewayContext>, session_id: Option<&str>, agent_id: Option<&str>) -> Self {
        let running = context.activity.begin();
        let state = context.upstreams.first().map(|upstream| Arc::clone(&upstream.state));
        let mut line = Line::new(context);
        session_id.unwrap_or_default().clone_into(&mut line.session_id);
        agent_id.unwrap_or_default().clone_into(&mut line.agent_id);
        line.state = state;
        line.running = Some(running);
        Self(Rc::new(RefCell::new(line)))
    }

    /// A request that is not let in: a line in the log, and in no backend's numbers.
    pub fn turned_away(context: Arc<GatewayContext>, error: &ApiError) {
        let mut line = Line::new(context);
        line.error = Some((error.kind, error.message.clone()));
        line.status = Some(error.status);
    }

    pub fn requested(&self, model: &str) {
        model.clone_into(&mut self.0.borrow_mut().requested_model);
    }

    /// The request now goes to this backend's model.
    pub fn sent(&self, state: &Arc<BackendState>, backend: &str, model: &str, dropped: &Dropped) {
        let mut line = self.0.borrow_mut();
        model.clone_into(&mut line.upstream_model);
        backend.clone_into(&mut line.backend);
        line.dropped = dropped.iter().map(str::to_owned).collect();
        line.state = Some(Arc::clone(state));
    }

    pub fn upstream_request_id(&self, id: &str) {
        id.clone_into(&mut self.0.borrow_mut().upstream_request_id);
    }

    /// The head of the answer goes out with this status.
    pub fn answered(&self, status: u16) {
        let mut line = self.0.borrow_mut();
        line.status = Some(status);
        line.first_byte.get_or_insert_with(Instant::now);
    }

    /// The request failed, before or after its head went out.
    pub fn failed(&self, error: &ApiError) {
        let mut line = self.0.borrow_mut();
        line.error = Some((error.kind, error.message.clone()));
        line.status.get_or_insert(error.status);
    }

    pub fn summary(&self, summary: Summary) {
        self.0.borrow_mut().summary = summary;
    }
}

impl Line {
    fn new(context: Arc<GatewayContext>) -> Self {
        let backend = context.slot.backend.to_string();
        Self {
            context,
            began: Instant::now(),
            requested_model: String::new(),
            upstream_model: String::new(),
            backend,
            status: None,
            first_byte: None,
            summary: Summary::default(),
            upstream_request_id: String::new(),
            session_id: String::new(),
            agent_id: String::new(),
            dropped: Vec::new(),
            error: None,
            state: None,
            running: None,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let now = Instant::now();
        let status = self.status.unwrap_or(CLIENT_CLOSED);
        let error_type = self.error.as_ref().map_or("", |(kind, _)| kind.as_str());
        self.count(status);
        // Every field always, empty where there is nothing to tell: a log in columns needs no cases.
        info!(
            event = "request.finished",
            backend = self.backend,
            generation = self.context.generation.0,
            requested_model = self.requested_model,
            upstream_model = self.upstream_model,
            status,
            stop_reason = self.summary.stop_reason.map_or("", StopReason::as_str),
            ttfb_ms = milliseconds(self.first_byte.unwrap_or(now) - self.began),
            duration_ms = milliseconds(now - self.began),
            input_tokens = self.summary.input_tokens,
            cached_input_tokens = self.summary.cached_input_tokens,
            output_tokens = self.summary.output_tokens,
            reasoning_tokens = self.summary.reasoning_tokens,
            upstream_request_id = self.upstream_request_id,
            session_id = self.session_id,
            agent_id = self.agent_id,
            dropped = self.dropped.join(","),
            error_type,
            "request finished"
        );
        // Not before the line is written: whoever waits for the gateway to be idle finds it in the log.
        drop(self.running.take());
    }
}

impl Line {
    /// What the backend's numbers in `status` are made of.
    fn count(&mut self, status: u16) {
        let Some(state) = &self.state else { return };
        state.count_request();
        state.count_tokens(Tokens {
            input: self.summary.input_tokens,
            cached: self.summary.cached_input_tokens,
            output: self.summary.output_tokens,
            reasoning: self.summary.reasoning_tokens,
        });
        if let Some((kind, message)) = self.error.clone() {
            state.record_error(RecordedError { time: SystemTime::now(), status, kind, message });
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
