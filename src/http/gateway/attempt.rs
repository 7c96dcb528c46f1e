//! Gets a request to an upstream and its answer to the commit point (WIRE.md R-H1), mending on the way what the
//! upstream refuses and we can leave out.
//!
//! The future of [`open`] belongs to whoever answers the client: the handler while the answer's head is held back, the
//! body stream if the hold ran out first. Dropping it drops the upstream's connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::web::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;
use tracing::info;
use zeroize::Zeroizing;

use super::Upstream;
use super::listener::Worker;
use super::record::Record;
use crate::http::access::LocalToken;
use crate::http::upstream::credential::{Credential, CredentialFault};
use crate::http::upstream::{HeaderName, HeaderValue, Incoming, Outgoing, SendFault, UpstreamClient, route};
use crate::ids::ModelId;
use crate::providers::anthropic::events::EventWriter;
use crate::providers::anthropic::models::{Resolved, no_model_error, resolve};
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::openai::models::{Effort, ModelEntry, ModelFacts};
use crate::providers::translate::errors::{
    Answer, Attachment, Class, ErrorContext, Repair, StreamFault, TransportFault, UpstreamReply, Verdict, judge,
    sent_parameters, stream_error, transport_error,
};
use crate::providers::translate::request::{
    ImagePlace, MediaKind, RequestContext, Translated, endless_loop, translate,
};
use crate::providers::translate::response::{Failure, Reply, Step};
use crate::providers::translate::{ApiError, ErrorKind, Omissions, ReplyContext};
use crate::settings::{Backend, BackendKind, CredentialSetting};

/// Error bodies beyond this say nothing more.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
/// How long an error body may take: the status is known by then.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);
/// Of any kind: the judge itself ends each kind of repair, this ends a disagreement with it.
const MOST_REPAIRS: usize = 8;

/// One request on its way, with what the answering side may look at meanwhile.
pub struct Job {
    pub worker: Rc<Worker>,
    pub body: Bytes,
    pub session_id: Option<String>,
    pub agent_id: Option<String>,
    pub record: Record,
    pub request_id: String,
    pub hold: Rc<Hold>,
}

/// What the answering side and [`open`] tell each other while the answer's head is held back.
#[derive(Default)]
pub struct Hold {
    /// Set when the head and `message_start` went out because the hold ran out.
    pub started: Cell<bool>,
    /// Set as soon as the request is translated: enough to write a `message_start`.
    pub reply_context: RefCell<Option<ReplyContext>>,
}

/// An answer that has passed its commit point, or is complete.
pub struct Opened {
    pub reply: Reply,
    pub out: EventWriter,
    /// Absent when the answer is complete.
    pub incoming: Option<Incoming>,
    pub judge: FailureJudge,
    pub upstream_model: ModelId,
}

/// What is needed to judge a failure after the commit point, without the request that is freed by then.
pub struct FailureJudge {
    upstream: Upstream,
    model: ModelId,
    secret: Zeroizing<String>,
    local_token: LocalToken,
    input_tokens: u64,
    max_output_tokens: Option<u64>,
    context_window: Option<u64>,
    effort: Option<Effort>,
    summary: bool,
    /// Of the first translation: a retry without reasoning replays none.
    replayed_reasoning: Option<usize>,
    omit: Omissions,
    /// As sent, as long as a retry may leave something out of it: freed at the commit point.
    body: Option<Bytes>,
    parameter_retries: usize,
    images: Vec<ImagePlace>,
}

/// Sends the request and reads the answer until its first real event; for a client that does not stream, to its end.
///
/// # Errors
/// What the client gets instead: already in Anthropic's words, masked and recorded.
pub async fn open(job: Job) -> Result<Opened, ApiError> {
    let record = job.record.clone();
    let result = Box::pin(open_first(job)).await;
    if let Err(error) = &result {
        record.failed(error);
    }
    result
}

async fn open_first(job: Job) -> Result<Opened, ApiError> {
    let Some(upstream) = job.worker.context.upstreams.first().cloned() else {
        return Err(ApiError::new(500, ErrorKind::Api, "this gateway has no backend").final_answer());
    };
    let client = match &job.worker.clients[0] {
        Ok(client) => client,
        Err(fault) => return Err(ApiError::new(502, ErrorKind::Api, fault.clone()).final_answer()),
    };
    let attempt = Attempt::new(&job, upstream, client)?;
    attempt.run().await
}

struct Attempt<'a> {
    job: &'a Job,
    upstream: Upstream,
    client: &'a UpstreamClient,
    model: ModelId,
    facts: ModelFacts,
    omit: Omissions,
    repairs: Vec<Repair>,
    replayed_reasoning: Cell<Option<usize>>,
}

enum Outcome {
    Opened(Box<Opened>),
    Failed(Verdict),
}

impl<'a> Attempt<'a> {
    fn new(job: &'a Job, upstream: Upstream, client: &'a UpstreamClient) -> Result<Self, ApiError> {
        let request = MessagesRequest::parse(&job.body)?;
        let requested = request.model();
        job.record.requested(&requested);
        if let Some(refusal) = endless_loop(&request) {
            return Err(refusal);
        }
        let known = upstream.state.models();
        let model = match resolve(&requested, upstream.model.as_ref(), upstream.small_model.as_ref(), &known) {
            Resolved::Model(model) => model,
            Resolved::NoModel => return Err(no_model_error(&upstream.backend.id)),
        };
        let omit = upstream.state.omissions(&model);
        let facts = upstream.facts(&model);
        Ok(Self { job, upstream, client, model, facts, omit, repairs: Vec::new(), replayed_reasoning: Cell::new(None) })
    }

    async fn run(mut self) -> Result<Opened, ApiError> {
        loop {
            let answer = match self.once().await? {
                Outcome::Opened(opened) => {
                    self.remember();
                    return Ok(*opened);
                }
                Outcome::Failed(Verdict::Answer(answer)) => return Err(answer.error),
                Outcome::Failed(Verdict::Retry(repair)) => repair,
            };
            if !self.mend(answer) {
                return Err(ApiError::invalid(format!(
                    "{} refused the request again after what it objected to was left out",
                    self.upstream.backend.id
                )));
            }
        }
    }

    /// Leaves out what was refused. False: this was tried already, or too often.
    fn mend(&mut self, repair: Repair) -> bool {
        let tried = self.repairs.contains(&repair) || self.repairs.len() >= MOST_REPAIRS;
        repair.apply(&mut self.omit);
        self.repairs.push(repair);
        !tried
    }

    /// The repaired request was accepted: later ones leave the same out from the start.
    fn remember(&self) {
        let lasting = self.repairs.iter().any(|repair| *repair != Repair::WithoutReasoningItems);
        if !lasting {
            return;
        }
        let is_new = self.upstream.state.learn(&self.model, |omit| {
            for repair in &self.repairs {
                repair.apply(omit);
            }
        });
        if is_new {
            info!(
                event = "upstream.adapted",
                backend = %self.upstream.backend.id,
                model = %self.model,
                omitted = ?self.repairs,
                "the upstream refused what is left out from now on"
            );
        }
    }

    async fn once(&self) -> Result<Outcome, ApiError> {
        let backend = &self.upstream.backend;
        let credential = match self.job.worker.context.credentials.get(&backend.id, &backend.origin()).await {
            Ok(credential) => credential,
            Err(fault) => return Err(credential_error(&fault)),
        };
        let (mut translated, streams) = self.translate()?;
        self.job.record.sent(&self.upstream.state, backend.id.as_str(), self.model.as_str(), &translated.dropped);
        *self.job.hold.reply_context.borrow_mut() = Some(translated.reply.clone());

        if translated.replayed_reasoning.is_some() {
            self.replayed_reasoning.set(translated.replayed_reasoning);
        }
        let body = Bytes::from(std::mem::take(&mut translated.body));
        let judge = self.judge(&translated, &body, &credential);
        let mut outgoing = Outgoing::post("/responses", body)
            .with_header(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
        outgoing.headers.extend(route::headers(backend, &credential));
        let first_byte = self.job.worker.context.settings.first_byte_timeout;
        let incoming = match self.client.send(&outgoing, first_byte).await {
            Ok(incoming) => incoming,
            Err(fault) => return Ok(Outcome::Failed(judge.transport(&transport_fault(fault)))),
        };
        drop(outgoing);
        if let Some(id) = incoming.header("x-request-id") {
            self.job.record.upstream_request_id(id);
        }
        if !(200..300).contains(&incoming.status()) {
            if incoming.status() == 401 {
                self.job.worker.context.credentials.rejected(&backend.id, &backend.origin(), credential).await;
            }
            return Ok(Outcome::Failed(judge.response(incoming).await));
        }
        let reply = Reply::new(translated.reply, &self.job.request_id);
        let out = if streams { EventWriter::stream() } else { EventWriter::whole() };
        self.hold(reply, out, incoming, judge, streams).await
    }

    fn translate(&self) -> Result<(Translated, bool), ApiError> {
        let request = MessagesRequest::parse(&self.job.body)?;
        let scope = self.upstream.scope();
        let context = RequestContext {
            profile: &self.upstream.backend.profile,
            scope: &scope,
            model: &self.facts,
            session_id: self.job.session_id.as_deref(),
            agent_id: self.job.agent_id.as_deref(),
            omit: &self.omit,
        };
        Ok((translate(&request, &context)?, request.stream()))
    }

    fn judge(&self, translated: &Translated, body: &Bytes, credential: &Credential) -> FailureJudge {
        FailureJudge {
            upstream: self.upstream.clone(),
            model: self.model.clone(),
            secret: Zeroizing::new(credential.expose().unwrap_or_default().to_owned()),
            local_token: self.job.worker.context.token.clone(),
            input_tokens: translated.reply.input_estimate,
            max_output_tokens: translated.reply.max_output_tokens,
            context_window: self.facts.context_window,
            effort: translated.effort,
            summary: translated.summary,
            replayed_reasoning: self.replayed_reasoning.get(),
            omit: self.omit.clone(),
            body: Some(body.clone()),
            parameter_retries: self.repairs.iter().filter(|repair| repair.is_of_parameters()).count(),
            images: translated.images.clone(),
        }
    }

    /// Reads until the answer may be committed, or to its end for a client that wants it whole.
    async fn hold(
        &self,
        mut reply: Reply,
        mut out: EventWriter,
        mut incoming: Incoming,
        judge: FailureJudge,
        streams: bool,
    ) -> Result<Outcome, ApiError> {
        let idle = self.job.worker.context.settings.idle_timeout;
        loop {
            let next = timeout(idle, incoming.next()).await;
            if self.job.hold.started.get() {
                reply.assume_started();
            }
            let step = match next {
                Err(_) => return Ok(Outcome::Failed(judge.transport(&TransportFault::IdleTimeout))),
                Ok(Some(Ok(chunk))) => reply.feed(&chunk, &mut out),
                Ok(Some(Err(_))) => Step::Failed(Failure::Cut),
                Ok(None) => reply.end(&mut out),
            };
            let incoming = match step {
                Step::Held => continue,
                Step::Flowing if !streams => continue,
                Step::Flowing => Some(incoming),
                Step::Finished => {
                    finish_reading(incoming);
                    None
                }
                Step::Failed(failure) => return Ok(Outcome::Failed(judge.failure(&failure, &reply))),
            };
            let judge = FailureJudge { body: None, ..judge };
            let upstream_model = self.model.clone();
            return Ok(Outcome::Opened(Box::new(Opened { reply, out, incoming, judge, upstream_model })));
        }
    }
}

/// A finished answer's connection can serve the next request only if its last chunk is read. It is usually there
/// already; a server that keeps the stream open is let go.
pub fn finish_reading(mut incoming: Incoming) {
    actix_rt::spawn(async move {
        let _ = timeout(Duration::from_millis(500), async { while let Some(Ok(_)) = incoming.next().await {} }).await;
    });
}

impl FailureJudge {
    pub fn transport(&self, fault: &TransportFault) -> Verdict {
        self.with_context(&[], |context| unclassified("transport", transport_error(fault, context)))
    }

    async fn response(&self, incoming: Incoming) -> Verdict {
        let status = incoming.status();
        let retry_after = incoming.header("retry-after").map(str::to_owned);
        let location = incoming.header("location").map(str::to_owned);
        let cloudflare = incoming.header("cf-mitigated").is_some();
        let body = incoming.read_limited(ERROR_BODY_LIMIT, ERROR_BODY_TIME).await;
        self.verdict(&UpstreamReply {
            status: Some(status),
            body: &body,
            retry_after: retry_after.as_deref(),
            location: location.as_deref(),
            cloudflare,
        })
    }

    /// A failure inside a 2xx answer.
    pub fn failure(&self, failure: &Failure, reply: &Reply) -> Verdict {
        let fault = match failure {
            Failure::Reported { event } => return self.verdict(&UpstreamReply::in_stream(event.as_bytes())),
            Failure::Cut => return unclassified("cut", reply.cut_error()),
            Failure::Malformed => StreamFault::Malformed,
            Failure::TooLong => StreamFault::TooLong,
            Failure::Empty => StreamFault::Empty,
            Failure::Html(page) => StreamFault::Html(page.clone()),
        };
        self.with_context(&[], |context| unclassified("stream", stream_error(&fault, false, context)))
    }

    fn verdict(&self, reply: &UpstreamReply<'_>) -> Verdict {
        let known = self.upstream.listed_models();
        self.with_context(&known, |context| judge(reply, context))
    }

    fn with_context<T>(&self, known_models: &[ModelEntry], use_it: impl FnOnce(&ErrorContext<'_>) -> T) -> T {
        use_it(&ErrorContext {
            profile: self.upstream.backend.profile.kind,
            backend: &self.upstream.backend.id,
            base_url: self.upstream.backend.base_url.as_str(),
            model: &self.model,
            context_window: self.context_window,
            input_tokens: self.input_tokens,
            max_output_tokens: self.max_output_tokens,
            effort: self.effort,
            summary: self.summary,
            replayed_reasoning: self.replayed_reasoning,
            omit: &self.omit,
            body_keys: &self.body.as_ref().map(|body| sent_parameters(body)).unwrap_or_default(),
            parameter_retries: u8::try_from(self.parameter_retries).unwrap_or(u8::MAX),
            attachment_path: &|attachment, place| self.attachment_path(attachment, place),
            known_models,
            now_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
            login: &login_advice(&self.upstream.backend),
            secrets: &[&self.secret, self.local_token.expose()],
        })
    }

    fn attachment_path(&self, attachment: Attachment, place: Option<(usize, usize)>) -> Option<String> {
        let kind = match attachment {
            Attachment::Image => MediaKind::Image,
            Attachment::Document => MediaKind::Document,
        };
        let mut of_kind = self.images.iter().filter(|image| image.kind == kind);
        let found = match place {
            Some(place) => of_kind.find(|image| (image.item, image.part) == place),
            None => of_kind.next_back(),
        };
        found.map(ImagePlace::path)
    }
}

/// What a person does about a refused credential, as a sentence.
fn login_advice(backend: &Backend) -> String {
    match (&backend.credential, backend.kind) {
        (_, BackendKind::CodexSubscription) => format!("run `claudette login {}`", backend.id),
        (Some(CredentialSetting::Env(name)), _) => format!("check the key in the environment variable {name}"),
        (Some(CredentialSetting::File(path)), _) => format!("check the key in {}", path.display()),
        (Some(_), _) => format!("check the credential of backend {} in the config", backend.id),
        (None, _) => format!("set a credential for backend {} in the config", backend.id),
    }
}

fn unclassified(code: &str, error: ApiError) -> Verdict {
    Verdict::Answer(Answer { error, class: Class { code: code.to_owned(), quota: None } })
}

fn transport_fault(fault: SendFault) -> TransportFault {
    match fault {
        SendFault::Refused(_) => TransportFault::Refused,
        SendFault::Dns(_) => TransportFault::Dns,
        SendFault::ConnectTimeout => TransportFault::ConnectTimeout,
        SendFault::FirstByteTimeout => TransportFault::FirstByteTimeout,
        SendFault::ClosedBeforeHead | SendFault::ClosedWhileSending => TransportFault::ClosedBeforeHead,
        SendFault::ProxyRefused(answer) => TransportFault::ProxyRefused(answer),
        SendFault::Tls(_) | SendFault::Untrusted { .. } | SendFault::BadCertificate { .. } => {
            TransportFault::Tls(fault.to_string())
        }
        SendFault::BadAnswer(what) => TransportFault::Garbled(what),
        SendFault::Unreachable(what) | SendFault::BadUrl(what) | SendFault::Other(what) => {
            TransportFault::Unreachable(what)
        }
    }
}

fn credential_error(fault: &CredentialFault) -> ApiError {
    ApiError::new(401, ErrorKind::Authentication, fault.to_string()).final_answer()
}
