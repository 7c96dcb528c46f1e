//! `POST /v1/messages`: holds the head of the answer back until it is known what kind of answer it is (WIRE.md R-H1).

use std::rc::Rc;
use std::time::Duration;

use actix_web::body::BodyStream;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::asking::{Hold, Job, Opened, open};
use super::errors;
use super::listener::Worker;
use super::record::Record;
use super::stream::MessageStream;
use crate::ids::ModelId;
use crate::providers::translate::response::Reply;
use crate::providers::translate::{ApiError, ErrorKind, ReplyContext};

/// R-H1: how long the head is held back from the end of the request's body on.
const HOLD: Duration = Duration::from_secs(20);
const UPSTREAM_MODEL: HeaderName = HeaderName::from_static("x-upstream-model");

pub struct Asked {
    pub body: Bytes,
    pub session_id: Option<String>,
    pub agent_id: Option<String>,
    pub request_id: String,
}

pub async fn answer(worker: Rc<Worker>, asked: Asked, record: Record) -> HttpResponse {
    let request_id = asked.request_id.clone();
    let hold = Rc::new(Hold::default());
    let job = Job {
        worker: Rc::clone(&worker),
        body: asked.body,
        session_id: asked.session_id,
        agent_id: asked.agent_id,
        record: record.clone(),
        request_id: asked.request_id,
        hold: Rc::clone(&hold),
    };
    let mut opening = open_until(worker.context.cut.clone(), job).boxed_local();
    let opened = match timeout(HOLD, &mut opening).await {
        Ok(opened) => opened,
        Err(_) => match hold.begin() {
            Some(context) => {
                let model = context.upstream_model.clone();
                let stream = MessageStream::opening(opening, Reply::new(context, &request_id), &worker, record.clone());
                return streamed(stream, &model, &record);
            }
            None => opening.await,
        },
    };
    match opened {
        Ok(opened) if hold.streams.get() => {
            let model = opened.judge.model.clone();
            let stream = MessageStream::flowing(opened, &worker, record.clone());
            streamed(stream, &model, &record)
        }
        Ok(opened) => whole(opened, &request_id, &record),
        Err(error) => refuse(&error, &request_id, &record),
    }
}

/// The answer's beginning, unless the gateway stops before it is there.
async fn open_until(cut: CancellationToken, job: Job) -> Result<Opened, ApiError> {
    tokio::select! {
        opened = open(job) => opened,
        () = cut.cancelled() => Err(errors::cut()),
    }
}

impl Hold {
    /// The head must not wait any longer. Nothing for a client that wants its answer whole, and as long as there is not
    /// even a credential: then nothing is known to begin an answer with, and this one waits for its end.
    fn begin(&self) -> Option<ReplyContext> {
        let context = self.reply_context.borrow().clone().filter(|_| self.streams.get());
        self.started.set(context.is_some());
        context
    }
}

fn streamed(stream: MessageStream, model: &ModelId, record: &Record) -> HttpResponse {
    record.answered(200);
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "text/event-stream")).insert_header((CACHE_CONTROL, "no-cache"));
    name_model(&mut response, model);
    response.body(BodyStream::new(stream))
}

fn whole(opened: Opened, request_id: &str, record: &Record) -> HttpResponse {
    record.summary(opened.reply.summary());
    let model = opened.judge.model.clone();
    let Some(message) = opened.out.into_message() else {
        let error = ApiError::new(502, ErrorKind::Api, "the upstream's answer ended before it was complete");
        return refuse(&error, request_id, record);
    };
    record.answered(200);
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "application/json"));
    name_model(&mut response, &model);
    response.body(message)
}

fn name_model(response: &mut HttpResponseBuilder, model: &ModelId) {
    // A model's id is any text; one that cannot stand in a header is in the log all the same.
    if let Ok(value) = HeaderValue::from_str(model.as_str()) {
        response.insert_header((UPSTREAM_MODEL, value));
    }
}

pub fn refuse(error: &ApiError, request_id: &str, record: &Record) -> HttpResponse {
    record.failed(error);
    record.answered(error.status);
    errors::response(error, request_id)
}
