//! Which upstream a request goes to: the slot's own, or the next of its `fallback` while that one's quota is used up
//! (DESIGN.md §5).
//!
//! The future of [`open`] belongs to whoever answers the client: the handler while the answer's head is held back, the
//! body stream if the hold ran out first. Dropping it drops the upstream's connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use actix_web::web::Bytes;
use tracing::{debug, info, warn};

use super::attempt::{Attempt, Failed};
use super::judge::{FailureJudge, login_advice};
use super::listener::Worker;
use super::record::Record;
use super::{Upstream, unix_now};
use crate::http::upstream::Incoming;
use crate::ids::ModelId;
use crate::providers::anthropic::events::EventWriter;
use crate::providers::anthropic::models::{Resolved, no_model_error, resolve};
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::translate::errors::{Answer, nearest_models};
use crate::providers::translate::request::endless_loop;
use crate::providers::translate::response::{Failure, Reply};
use crate::providers::translate::{ApiError, Dropped, ErrorKind, ReplyContext};

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
    /// The client wants events. Known as soon as [`open`] was polled once.
    pub streams: Cell<bool>,
    /// Set when the head and `message_start` went out because the hold ran out.
    pub started: Cell<bool>,
    /// Set as soon as the request is translated: enough to write a `message_start`.
    pub reply_context: RefCell<Option<ReplyContext>>,
}

/// An answer that has passed its commit point, or is complete.
pub struct Opened<I = Incoming> {
    pub reply: Reply,
    pub out: EventWriter,
    pub rest: Rest<I>,
    pub judge: Box<FailureJudge>,
}

/// What follows what `out` holds.
pub enum Rest<I> {
    Coming(I),
    /// Nothing: the answer is complete.
    Complete,
    /// The failure came with the first events. The client hears it after them, as if it had come later: how the
    /// upstream's bytes are divided must not show (DESIGN.md §9).
    Failed(Failure),
}

/// Sends the request and reads the answer until its first real event; for a client that does not stream, to its end.
/// The client's body is freed with that.
///
/// # Errors
/// What the client gets instead: already in Anthropic's words, masked and recorded.
pub async fn open(job: Job) -> Result<Opened, ApiError> {
    let record = job.record.clone();
    let result = Box::pin(ask(&job)).await;
    if let Err(error) = &result {
        record.failed(error);
    }
    result
}

async fn ask(job: &Job) -> Result<Opened, ApiError> {
    let request = MessagesRequest::parse(&job.body)?;
    job.hold.streams.set(request.stream());
    let requested = request.model().into_owned();
    job.record.requested(&requested);
    for key in request.unknown_keys() {
        // The key alone: its value may hold paths, names and rules of the person (WIRE.md Q0.2).
        debug!(event = "request.degraded", key, "a key of the request that is not known is left out");
    }
    if let Some(refusal) = endless_loop(&request) {
        return Err(refusal);
    }
    let upstreams = &job.worker.context.upstreams;
    let Some(first) = upstreams.first() else {
        return Err(ApiError::new(500, ErrorKind::Api, "this gateway has no backend").final_answer());
    };
    let wish = Wish::of(&requested, first)?;

    let mut request = Some(request);
    let mut refusals: Vec<(usize, ApiError)> = Vec::new();
    let mut why = "skipped_until_reset".to_owned();
    for index in order(upstreams, unix_now()) {
        let Some(model) = wish.model_of(index, &upstreams[index]) else { continue };
        if index > 0 {
            fell_back(job, &upstreams[index], &model, &why);
        }
        let mut attempt = match Attempt::new(job, index, model.clone()) {
            Ok(attempt) => attempt,
            Err(error) => {
                refusals.push((index, error));
                continue;
            }
        };
        match attempt.run(request.take()).await {
            Ok(opened) => {
                job.worker.rejections.borrow_mut().accepted();
                return Ok(opened);
            }
            Err(Failed::Theirs(answer)) if answer.class.quota.is_none() => {
                note_rejection(&job.worker, &upstreams[index], &model, &answer, &attempt.dropped);
                return Err(answer.error);
            }
            Err(Failed::Theirs(answer)) => {
                note_rejection(&job.worker, &upstreams[index], &model, &answer, &attempt.dropped);
                why.clone_from(&answer.class.code);
                refusals.push((index, answer.error));
            }
            Err(Failed::Ours(error)) if index == 0 => return Err(error),
            // A fallback that cannot be asked: the quota of the one before it is the news.
            Err(Failed::Ours(error)) => refusals.push((index, error)),
        }
    }
    let first_refusal = refusals.into_iter().min_by_key(|(index, _)| *index);
    Err(first_refusal.map_or_else(|| no_model_error(&first.backend.id), |(_, error)| error))
}

/// Which model the client wants, in words that hold for every upstream.
struct Wish {
    /// Of the slot's own backend.
    model: ModelId,
    /// It is the small one there.
    is_small: bool,
}

impl Wish {
    fn of(requested: &str, first: &Upstream) -> Result<Self, ApiError> {
        let known = first.state.models();
        match resolve(requested, first.model.as_ref(), first.small_model.as_ref(), &known) {
            Resolved::NoModel => Err(no_model_error(&first.backend.id)),
            Resolved::Model(model) => {
                let is_small = first.small_model.as_ref() == Some(&model) && first.model.as_ref() != Some(&model);
                Ok(Self { model, is_small })
            }
        }
    }

    /// A fallback is asked with its own default or small model. Nothing: it has none.
    fn model_of(&self, index: usize, upstream: &Upstream) -> Option<ModelId> {
        match (index, self.is_small) {
            (0, _) => Some(self.model.clone()),
            (_, true) => upstream.small_model.clone().or_else(|| upstream.model.clone()),
            (_, false) => upstream.model.clone(),
        }
    }
}

/// The upstreams by index, in the order of asking. Those whose quota is known to be used up are left out, but for the
/// slot's own: it comes last then, since its error is what the client is told when all are empty.
fn order(upstreams: &[Upstream], now: u64) -> Vec<usize> {
    let is_empty = |upstream: &Upstream| upstream.state.skipped_until(now).is_some();
    let mut order: Vec<usize> = (0..upstreams.len()).filter(|index| !is_empty(&upstreams[*index])).collect();
    if order.first() != Some(&0) {
        order.push(0);
    }
    order
}

fn fell_back(job: &Job, to: &Upstream, model: &ModelId, why: &str) {
    let context = &job.worker.context;
    let resets_at = context.upstreams.first().and_then(|first| first.state.skipped_until(unix_now()));
    info!(
        event = "request.fell_back",
        backend = %context.slot.backend,
        generation = context.generation.0,
        fallback = %to.backend.id,
        upstream_model = %model,
        code = why,
        resets_at,
        session_id = job.session_id.as_deref().unwrap_or_default(),
        "the quota of the backend is used up: the request goes to its fallback"
    );
}

/// DESIGN.md §2: an upstream that refuses one request after the other is told of once.
fn note_rejection(worker: &Worker, upstream: &Upstream, model: &ModelId, answer: &Answer, dropped: &Dropped) {
    let (error, code) = (&answer.error, &answer.class.code);
    if !(400..500).contains(&error.status) {
        return;
    }
    let context = &worker.context;
    if !worker.rejections.borrow_mut().refused(error.status, code, context.rejection_threshold) {
        return;
    }
    warn!(
        event = "gateway.rejecting",
        backend = %upstream.backend.id,
        generation = context.generation.0,
        model = %model,
        status = error.status,
        code = %code,
        error_type = error.kind.as_str(),
        rejections = context.rejection_threshold,
        upstream_message = %error.message,
        dropped = dropped.iter().collect::<Vec<_>>().join(","),
        hint = %hint(upstream, model, answer),
        "the upstream refuses every request for the same reason"
    );
}

/// What a person can do about it, as a sentence.
fn hint(upstream: &Upstream, model: &ModelId, answer: &Answer) -> String {
    match answer.error.kind {
        ErrorKind::NotFound => {
            let known = upstream.listed_models();
            let nearest = nearest_models(model.as_str(), known.iter().map(|entry| entry.id.as_str()));
            match nearest.is_empty() {
                true => format!("check base_url and default_model of backend {}", upstream.backend.id),
                false => format!("no such model: the nearest known ids are {}", nearest.join(", ")),
            }
        }
        ErrorKind::Authentication => login_advice(&upstream.backend),
        ErrorKind::Billing | ErrorKind::RateLimit => {
            "wait for the reset, or name another backend in `fallback`".to_owned()
        }
        ErrorKind::Permission => format!("the account may not use {model}: choose another model or credential"),
        ErrorKind::InvalidRequest | ErrorKind::RequestTooLarge | ErrorKind::Api | ErrorKind::Overloaded => {
            format!("if the server knows less than OpenAI's, override `profile` of backend {}", upstream.backend.id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::upstreams;
    use super::*;

    #[test]
    fn a_backend_whose_quota_is_used_up_is_passed_over_until_its_reset() {
        let upstreams = upstreams(3);
        let cases: [(&[usize], &[usize]); 5] =
            [(&[], &[0, 1, 2]), (&[0], &[1, 2, 0]), (&[1], &[0, 2]), (&[0, 1], &[2, 0]), (&[0, 1, 2], &[0])];
        for (empty, expected) in cases {
            for (index, upstream) in upstreams.iter().enumerate() {
                upstream.state.skip_until(if empty.contains(&index) { 100 } else { 0 });
            }
            assert_eq!(order(&upstreams, 99), expected, "{empty:?}");
            assert_eq!(order(&upstreams, 100), [0, 1, 2], "after the reset");
        }
    }

    #[test]
    fn a_fallback_is_asked_with_its_own_model_of_the_same_class() {
        let upstreams = upstreams(2);
        for (requested, first, second) in [
            ("claude-opus-4-8", "model-0", "model-1"),
            ("anthropic/model-0", "model-0", "model-1"),
            ("claude-haiku-4-5", "small-0", "small-1"),
            ("anthropic/small-0", "small-0", "small-1"),
            ("something-else", "something-else", "model-1"),
        ] {
            let wish = Wish::of(requested, &upstreams[0]).unwrap();
            let models = [0, 1].map(|index| wish.model_of(index, &upstreams[index]).unwrap());
            assert_eq!(models, [ModelId::from(first), ModelId::from(second)], "{requested}");
        }
    }

    #[test]
    fn a_fallback_without_a_model_cannot_be_asked() {
        let mut upstreams = upstreams(2);
        upstreams[1].model = None;
        upstreams[1].small_model = None;
        let wish = Wish::of("opus", &upstreams[0]).unwrap();
        assert_eq!(wish.model_of(1, &upstreams[1]), None);
    }
}
