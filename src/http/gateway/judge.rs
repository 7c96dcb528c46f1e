//! Judges one upstream's failure for one request, before and after the commit point, without the request itself: that
//! is freed by then.

use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use zeroize::Zeroizing;

use super::listener::Worker;
use super::refusals::Digest;
use super::{Upstream, codex, unix_now};
use crate::http::upstream::credential::Credential;
use crate::http::upstream::{Incoming, SendFault};
use crate::ids::ModelId;
use crate::providers::openai::models::{Effort, ModelEntry};
use crate::providers::translate::count::Encoding;
use crate::providers::translate::errors::{
    Answer, Attachment, Class, ErrorContext, Quota, StreamFault, TransportFault, UpstreamReply, Verdict, is_overflow,
    judge, mask, sent_parameters, stream_error, transport_error,
};
use crate::providers::translate::request::{ImagePlace, MediaKind, Translated};
use crate::providers::translate::response::{Failure, Reply};
use crate::providers::translate::{ApiError, Omissions};
use crate::settings::{Backend, BackendKind, CredentialSetting};

/// Error bodies beyond this say nothing more.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
/// Characters of an upstream's words in a log field.
const LONGEST_WORDS: usize = 256;
/// How long an error body may take: the status is known by then.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);
/// Seconds for which a backend is passed over whose quota is used up and that does not say until when.
const UNTOLD_RESET: u64 = 60;

/// What one request to one upstream was, as far as its failure depends on it.
pub struct FailureJudge {
    pub worker: Rc<Worker>,
    pub upstream: Upstream,
    pub model: ModelId,
    secret: Zeroizing<String>,
    input_tokens: u64,
    max_output_tokens: Option<u64>,
    context_window: Option<u64>,
    effort: Option<Effort>,
    summary: bool,
    system_in_middle: bool,
    /// Of the first translation: a retry without reasoning replays none.
    replayed_reasoning: Option<usize>,
    omit: Omissions,
    parameter_retries: u8,
    images: Vec<ImagePlace>,
    /// As sent, as long as a retry may leave something out of it: freed at the commit point.
    body: Option<Bytes>,
    /// As first sent, for R-X3.
    first_body: Bytes,
}

/// What an attempt has become by the time that it is sent.
pub struct Sent<'a> {
    pub credential: &'a Credential,
    pub body: Bytes,
    pub first_body: Bytes,
    pub context_window: Option<u64>,
    pub replayed_reasoning: Option<usize>,
    pub omit: Omissions,
    pub parameter_retries: usize,
}

impl FailureJudge {
    pub fn new(
        worker: Rc<Worker>,
        upstream: Upstream,
        model: ModelId,
        translated: &mut Translated,
        sent: Sent<'_>,
    ) -> Self {
        Self {
            worker,
            upstream,
            model,
            secret: Zeroizing::new(sent.credential.expose().unwrap_or_default().to_owned()),
            input_tokens: translated.reply.input_estimate,
            max_output_tokens: translated.reply.max_output_tokens,
            context_window: sent.context_window,
            effort: translated.effort,
            summary: translated.summary,
            system_in_middle: translated.system_in_middle,
            replayed_reasoning: sent.replayed_reasoning,
            omit: sent.omit,
            parameter_retries: u8::try_from(sent.parameter_retries).unwrap_or(u8::MAX),
            images: std::mem::take(&mut translated.images),
            body: Some(sent.body),
            first_body: sent.first_body,
        }
    }

    /// The answer has begun: what only a retry needs is freed.
    pub fn commit(&mut self) {
        self.body = None;
    }

    /// A few words of the upstream's, fit for a log line.
    pub fn masked(&self, words: &str) -> String {
        let secrets = [self.secret.as_str(), self.worker.context.token.expose()];
        mask(words, &secrets).chars().take(LONGEST_WORDS).collect()
    }

    /// Keeps what the answer has told of the plan's use since the last look.
    pub fn note_quota(&self, reply: &mut Reply) {
        codex::note_event(&self.upstream, reply.take_rate_limits());
    }

    /// No head came, or the answer stopped before it began.
    pub fn transport(&self, fault: &TransportFault) -> Verdict {
        self.with_context(self.input_tokens, &[], |context| unclassified("transport", transport_error(fault, context)))
    }

    pub fn not_sent(&self, fault: SendFault) -> Verdict {
        self.transport(&transport_fault(fault))
    }

    /// An answer with a status that is not 2xx.
    pub async fn response(&self, incoming: Incoming) -> Verdict {
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
        .await
    }

    /// A failure inside a 2xx answer. `cut`: what it means if the answer just ended ([`Reply::cut_error`]).
    pub async fn failure(&self, failure: &Failure, cut: ApiError) -> Verdict {
        let fault = match failure {
            Failure::Reported { event } => return self.verdict(&UpstreamReply::in_stream(event.as_bytes())).await,
            Failure::Cut => return unclassified("cut", cut),
            Failure::Malformed => StreamFault::Malformed,
            Failure::TooLong => StreamFault::TooLong,
            Failure::Empty => StreamFault::Empty,
            Failure::Html(page) => StreamFault::Html(page.clone()),
        };
        self.with_context(self.input_tokens, &[], |context| unclassified("stream", stream_error(&fault, context)))
    }

    /// The same after the commit point: the error event to write.
    pub async fn late_failure(&self, failure: &Failure, cut: ApiError) -> ApiError {
        let Verdict::Answer(answer) = self.failure(failure, cut.clone()).await else { return cut };
        if let Some(quota) = answer.class.quota {
            self.skip_until_reset(quota);
        }
        self.remember(&answer, true);
        answer.error
    }

    /// R-K3: the upstream has been silent too long, which is a cut.
    pub fn idle(&self, cut: ApiError) -> ApiError {
        match self.transport(&TransportFault::IdleTimeout) {
            Verdict::Answer(answer) => ApiError { kind: cut.kind, ..answer.error },
            Verdict::Retry(_) => cut,
        }
    }

    /// The answer went silent before it began. `cut`: its head was written already, by somebody who could not wait.
    pub fn silent(&self, cut: Option<ApiError>) -> Verdict {
        match cut {
            Some(cut) => unclassified("idle", self.idle(cut)),
            None => self.transport(&TransportFault::IdleTimeout),
        }
    }

    /// R-X3: what `claude` asks for again is remembered: every upstream failure that is answered with 400 and, once its
    /// message has `started`, every one that asking again cannot mend.
    pub fn remember(&self, answer: &Answer, started: bool) {
        if answer.error.status != 400 && !(started && answer.error.should_retry == Some(false)) {
            return;
        }
        let digest = Digest::of(&self.upstream.backend.id, &self.first_body);
        self.worker.refusals.borrow_mut().keep(digest, answer.clone(), Instant::now());
    }

    /// Other requests go to the fallback at once, until the quota is new.
    pub fn skip_until_reset(&self, quota: Quota) {
        self.upstream.state.skip_until(quota.resets_at.unwrap_or_else(|| unix_now() + UNTOLD_RESET));
    }

    /// The input is counted only where its size is told: `claude` cuts its conversation by that number (§3.3).
    async fn verdict(&self, reply: &UpstreamReply<'_>) -> Verdict {
        let overflow = self.with_context(self.input_tokens, &[], |context| is_overflow(reply, context));
        let input_tokens = match overflow {
            true => {
                let body = self.body.as_ref().unwrap_or(&self.first_body);
                self.worker.context.tokenizer.count(body, Encoding::of(self.model.as_str())).await
            }
            false => self.input_tokens,
        };
        let known = self.upstream.listed_models();
        self.with_context(input_tokens, &known, |context| judge(reply, context))
    }

    fn with_context<T>(
        &self,
        input_tokens: u64,
        known_models: &[ModelEntry],
        use_it: impl FnOnce(&ErrorContext<'_>) -> T,
    ) -> T {
        let backend = &self.upstream.backend;
        use_it(&ErrorContext {
            profile: backend.profile.kind,
            backend: &backend.id,
            base_url: backend.base_url.as_str(),
            model: &self.model,
            context_window: self.context_window,
            input_tokens,
            max_output_tokens: self.max_output_tokens,
            effort: self.effort,
            summary: self.summary,
            system_in_middle: self.system_in_middle,
            replayed_reasoning: self.replayed_reasoning,
            omit: &self.omit,
            body_keys: &self.body.as_ref().map(|body| sent_parameters(body)).unwrap_or_default(),
            parameter_retries: self.parameter_retries,
            attachment_path: &|attachment, place| self.attachment_path(attachment, place),
            known_models,
            now_unix: unix_now(),
            login: &login_advice(backend),
            secrets: &[&self.secret, self.worker.context.token.expose()],
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
pub fn login_advice(backend: &Backend) -> String {
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
