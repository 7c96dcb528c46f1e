//! Gets a request to one upstream and its answer to the commit point (WIRE.md R-H1), mending on the way what the
//! upstream refuses and we can leave out.

use std::rc::Rc;
use std::time::Instant;

use actix_web::web::Bytes;
use futures_util::StreamExt;
use tokio::time::{Duration, timeout};
use tracing::info;

use super::asking::{Job, Opened, Rest};
use super::judge::{FailureJudge, Sent};
use super::refusals::Digest;
use super::{Upstream, codex};
use crate::http::upstream::credential::{Credential, CredentialFault};
use crate::http::upstream::{HeaderName, HeaderValue, Incoming, Outgoing, UpstreamClient, route};
use crate::ids::ModelId;
use crate::providers::anthropic::events::EventWriter;
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::openai::models::ModelFacts;
use crate::providers::translate::errors::{Answer, Repair, TransportFault, Verdict};
use crate::providers::translate::request::{RequestContext, Translated, translate};
use crate::providers::translate::response::{Failure, Reply, Step};
use crate::providers::translate::{ApiError, Dropped, ErrorKind, Omissions};

/// Of any kind: the judge itself ends each kind of repair, this ends a disagreement with it.
const MOST_REPAIRS: usize = 8;
/// How long the last chunk of a finished answer is waited for.
const LAST_CHUNK: Duration = Duration::from_millis(500);

/// One request to one upstream, sent once or, mended, some times more.
pub struct Attempt<'a> {
    job: &'a Job,
    upstream: Upstream,
    client: &'a UpstreamClient,
    model: ModelId,
    facts: ModelFacts,
    omit: Omissions,
    repairs: Vec<Repair>,
    replayed_reasoning: Option<usize>,
    first_body: Option<Bytes>,
    /// The login that was found after a 401: there is one attempt more with it.
    second_credential: Option<Credential>,
    pub dropped: Dropped,
}

/// Why an attempt has no answer.
#[derive(Debug)]
pub enum Failed {
    /// It never came to the upstream.
    Ours(ApiError),
    Theirs(Answer),
}

enum Outcome {
    Opened(Box<Opened>),
    Failed(Box<FailureJudge>, Verdict),
    /// The same request has just failed (R-X3).
    Remembered(Answer),
    /// Refused, and there is another credential by now.
    Again,
}

impl<'a> Attempt<'a> {
    /// # Errors
    /// The upstream has no client: its CA file or the proxy's name cannot be used.
    pub fn new(job: &'a Job, index: usize, model: ModelId) -> Result<Self, ApiError> {
        let upstream = job.worker.context.upstreams[index].clone();
        let client = match &job.worker.clients[index] {
            Ok(client) => client,
            Err(fault) => return Err(ApiError::new(502, ErrorKind::Api, fault.clone()).final_answer()),
        };
        Ok(Self {
            job,
            client,
            omit: upstream.state.omissions(&model),
            facts: upstream.facts(&model),
            upstream,
            model,
            repairs: Vec::new(),
            replayed_reasoning: None,
            first_body: None,
            second_credential: None,
            dropped: Dropped::default(),
        })
    }

    /// Sends the request and reads the answer until its first real event; for a client that does not stream, to its
    /// end. `request` is the job's body, read, if it is still at hand.
    pub async fn run(&mut self, mut request: Option<MessagesRequest<'a>>) -> Result<Opened, Failed> {
        loop {
            let (judge, repair) = match self.once(request.take()).await.map_err(Failed::Ours)? {
                Outcome::Opened(opened) => {
                    self.learn();
                    return Ok(*opened);
                }
                Outcome::Remembered(answer) => return Err(Failed::Theirs(answer)),
                Outcome::Again => continue,
                Outcome::Failed(judge, Verdict::Answer(answer)) => {
                    judge.remember(&answer, self.job.hold.started.get());
                    if let Some(quota) = answer.class.quota {
                        judge.skip_until_reset(quota);
                    }
                    return Err(Failed::Theirs(answer));
                }
                Outcome::Failed(judge, Verdict::Retry(repair)) => (judge, repair),
            };
            drop(judge);
            if !self.mend(repair) {
                return Err(Failed::Ours(ApiError::invalid(format!(
                    "{} refused the request again after what it objected to was left out",
                    self.upstream.backend.id
                ))));
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

    /// The mended request was accepted: later ones leave the same out from the start.
    fn learn(&self) {
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

    async fn once(&mut self, request: Option<MessagesRequest<'a>>) -> Result<Outcome, ApiError> {
        let credential = self.credential().await?;
        let mut translated = self.translate(request, credential.account())?;
        let body = Bytes::from(std::mem::take(&mut translated.body));
        self.note(&translated);
        if let Some(answer) = self.remembered(&body) {
            return Ok(Outcome::Remembered(answer));
        }
        let judge = self.judge(&mut translated, body.clone(), &credential);
        let outgoing = self.outgoing(body, &credential, translated.cache_key.as_deref());
        let routed = codex::routed_client(&self.job.worker, &self.upstream, &credential)
            .map_err(|fault| ApiError::new(502, ErrorKind::Api, fault).final_answer())?;
        let client = routed.as_deref().unwrap_or(self.client);
        let incoming = match client.send(&outgoing, self.job.worker.context.settings.first_byte_timeout).await {
            Ok(incoming) => incoming,
            Err(fault) => {
                let verdict = judge.not_sent(fault);
                return Ok(Outcome::Failed(judge, verdict));
            }
        };
        drop(outgoing);
        if let Some(id) = incoming.header("x-request-id") {
            self.job.record.upstream_request_id(&judge.masked(id));
        }
        codex::note_headers(&self.upstream, &incoming);
        if !(200..300).contains(&incoming.status()) {
            if incoming.status() == 401 && self.credential_refused(credential).await? {
                return Ok(Outcome::Again);
            }
            let verdict = judge.response(incoming).await;
            return Ok(Outcome::Failed(judge, verdict));
        }
        if let Some(fault) = unreadable(&incoming) {
            let verdict = judge.transport(&fault);
            return Ok(Outcome::Failed(judge, verdict));
        }
        let reply = Reply::new(translated.reply, &self.job.request_id);
        Ok(self.hold(reply, incoming, judge).await)
    }

    async fn credential(&self) -> Result<Credential, ApiError> {
        if let Some(second) = &self.second_credential {
            return Ok(second.clone());
        }
        let backend = &self.upstream.backend;
        let credentials = &self.job.worker.context.credentials;
        credentials.get(&backend.id, &backend.origin()).await.map_err(|fault| credential_error(&fault))
    }

    /// The one place that acts on a 401. True: there is another credential, to be tried once.
    async fn credential_refused(&mut self, credential: Credential) -> Result<bool, ApiError> {
        let backend = &self.upstream.backend;
        if self.second_credential.is_some() {
            self.job.worker.context.credentials.rejected(&backend.id, &backend.origin(), credential).await;
            return Ok(false);
        }
        let next = codex::second_credential(&self.job.worker, &self.upstream, credential).await;
        self.second_credential = next.map_err(|fault| credential_error(&fault))?;
        Ok(self.second_credential.is_some())
    }

    fn translate(&self, request: Option<MessagesRequest<'a>>, account: Option<&str>) -> Result<Translated, ApiError> {
        let request = match request {
            Some(request) => request,
            // Read again only to be sent again: nothing of it is kept while an upstream thinks.
            None => MessagesRequest::parse(&self.job.body)?,
        };
        let scope = self.upstream.scope(account);
        let context = RequestContext {
            profile: &self.upstream.backend.profile,
            scope: &scope,
            model: &self.facts,
            session_id: self.job.session_id.as_deref(),
            agent_id: self.job.agent_id.as_deref(),
            omit: &self.omit,
        };
        translate(&request, &context)
    }

    /// Tells the others what this request has become.
    fn note(&mut self, translated: &Translated) {
        let backend = &self.upstream.backend.id;
        self.job.record.sent(&self.upstream.state, backend.as_str(), self.model.as_str(), &translated.dropped);
        self.job.worker.degraded(backend, &self.model, &translated.dropped);
        *self.job.hold.reply_context.borrow_mut() = Some(translated.reply.clone());
        self.dropped = translated.dropped.clone();
        if translated.replayed_reasoning.is_some() {
            self.replayed_reasoning = translated.replayed_reasoning;
        }
    }

    /// R-X3: looked up once, with the body as first sent.
    fn remembered(&mut self, body: &Bytes) -> Option<Answer> {
        if self.first_body.is_some() {
            return None;
        }
        self.first_body = Some(body.clone());
        let digest = || Digest::of(&self.upstream.backend.id, body);
        self.job.worker.refusals.borrow_mut().recall(Instant::now(), digest)
    }

    fn judge(&self, translated: &mut Translated, body: Bytes, credential: &Credential) -> Box<FailureJudge> {
        let sent = Sent {
            credential,
            first_body: self.first_body.clone().unwrap_or_else(|| body.clone()),
            body,
            context_window: self.facts.context_window,
            replayed_reasoning: self.replayed_reasoning,
            omit: self.omit.clone(),
            parameter_retries: self.repairs.iter().filter(|repair| repair.is_of_parameters()).count(),
        };
        let worker = Rc::clone(&self.job.worker);
        Box::new(FailureJudge::new(worker, self.upstream.clone(), self.model.clone(), translated, sent))
    }

    /// The one place that makes a request's head.
    fn outgoing(&self, body: Bytes, credential: &Credential, cache_key: Option<&str>) -> Outgoing {
        let backend = &self.upstream.backend;
        let mut outgoing = Outgoing::post(route::responses_path(backend), body)
            .with_header(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
        outgoing.headers.extend(route::headers(backend, credential));
        let client_version = self.upstream.state.client_version();
        let manner = route::Manner { client_version, cache_key, lite: self.omit.full_lane };
        outgoing.headers.extend(route::codex_headers(backend, credential, &manner));
        outgoing
    }

    /// Reads until the answer may be committed, or to its end for a client that wants it whole.
    async fn hold(&self, mut reply: Reply, mut incoming: Incoming, mut judge: Box<FailureJudge>) -> Outcome {
        let streams = self.job.hold.streams.get();
        let mut out = if streams { EventWriter::stream() } else { EventWriter::whole() };
        let idle = self.job.worker.context.settings.idle_timeout;
        loop {
            let next = timeout(idle, incoming.next()).await;
            let started = self.job.hold.started.get();
            if started {
                reply.assume_started();
            }
            let step = match next {
                Err(_) => {
                    let verdict = judge.silent(started.then(|| reply.cut_error()));
                    return Outcome::Failed(judge, verdict);
                }
                Ok(Some(Ok(chunk))) => reply.feed(&chunk, &mut out),
                Ok(Some(Err(_))) => Step::Failed(Failure::Cut),
                Ok(None) => reply.end(&mut out),
            };
            judge.note_quota(&mut reply);
            let rest = match step {
                Step::Held => continue,
                Step::Flowing if !streams => continue,
                Step::Flowing => Rest::Coming(incoming),
                Step::Finished => {
                    if !reply.stopped_early() {
                        finish_reading(incoming);
                    }
                    Rest::Complete
                }
                Step::Failed(failure) if !out.is_empty() => Rest::Failed(failure),
                Step::Failed(failure) => {
                    let verdict = judge.failure(&failure, reply.cut_error()).await;
                    return Outcome::Failed(judge, verdict);
                }
            };
            judge.commit();
            return Outcome::Opened(Box::new(Opened { reply, out, rest, judge }));
        }
    }
}

/// A finished answer's connection can serve the next request only if its last chunk is read. It is usually there
/// already; a server that keeps the stream open is let go.
pub fn finish_reading<I: futures_util::Stream + Unpin + 'static>(mut incoming: I) {
    actix_rt::spawn(async move {
        let _ = timeout(LAST_CHUNK, async { while incoming.next().await.is_some() {} }).await;
    });
}

/// Why nothing of a good answer's body could be read.
fn unreadable(incoming: &Incoming) -> Option<TransportFault> {
    let encoding = incoming.header("content-encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    match encoding {
        Some(encoding) => Some(TransportFault::Compressed(encoding.to_owned())),
        None => incoming.has_unreadable_body().then_some(TransportFault::Unframed),
    }
}

fn credential_error(fault: &CredentialFault) -> ApiError {
    ApiError::new(401, ErrorKind::Authentication, fault.to_string()).final_answer()
}
