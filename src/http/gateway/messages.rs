//! `POST /v1/messages`: holds the head of the answer back until it is known what kind of answer it is (WIRE.md R-H1).

use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BodyStream;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::timeout;

use super::attempt::{Hold, Job, Opened, open};
use super::errors;
use super::listener::Worker;
use super::record::Record;
use super::stream::MessageStream;
use crate::ids::ModelId;
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::translate::response::Reply;
use crate::providers::translate::{ApiError, ErrorKind};

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
    let streams = match MessagesRequest::parse(&asked.body) {
        Ok(request) => request.stream(),
        Err(error) => return refuse(&error, &asked.request_id, &record),
    };
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
    let opening = open(job).boxed_local();
    if streams {
        streamed(&worker, opening, &hold, &request_id, record).await
    } else {
        whole(opening, &request_id, &record).await
    }
}

async fn streamed(
    worker: &Worker,
    mut opening: LocalBoxFuture<'static, Result<Opened, ApiError>>,
    hold: &Hold,
    request_id: &str,
    record: Record,
) -> HttpResponse {
    let idle = worker.context.settings.idle_timeout;
    let cut = worker.context.cut.clone().cancelled_owned();
    let (stream, model) = match timeout(HOLD, &mut opening).await {
        Ok(Ok(opened)) => {
            let model = Some(opened.upstream_model.clone());
            (MessageStream::flowing(opened, idle, cut, record.clone()), model)
        }
        Ok(Err(error)) => return refuse(&error, request_id, &record),
        Err(_) => {
            hold.started.set(true);
            let context = hold.reply_context.borrow().clone();
            let Some(context) = context else {
                // Not even a credential after 20 s: nothing to begin an answer with, so this one waits for its end.
                return match opening.await {
                    Ok(opened) => stream_response(
                        MessageStream::flowing(opened, idle, cut, record.clone()),
                        None,
                        request_id,
                        &record,
                    ),
                    Err(error) => refuse(&error, request_id, &record),
                };
            };
            let model = Some(context.upstream_model.clone());
            (MessageStream::opening(opening, Reply::new(context, request_id), idle, cut, record.clone()), model)
        }
    };
    stream_response(stream, model, request_id, &record)
}

fn stream_response(stream: MessageStream, model: Option<ModelId>, request_id: &str, record: &Record) -> HttpResponse {
    record.answered(200);
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((errors::REQUEST_ID, request_id));
    name_model(&mut response, model.as_ref());
    response.body(BodyStream::new(stream))
}

async fn whole(
    opening: LocalBoxFuture<'static, Result<Opened, ApiError>>,
    request_id: &str,
    record: &Record,
) -> HttpResponse {
    let opened = match opening.await {
        Ok(opened) => opened,
        Err(error) => return refuse(&error, request_id, record),
    };
    record.summary(opened.reply.summary());
    let Some(message) = opened.out.into_message() else {
        let error = ApiError::new(502, ErrorKind::Api, "the upstream's answer ended before it was complete");
        return refuse(&error, request_id, record);
    };
    record.answered(200);
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "application/json")).insert_header((errors::REQUEST_ID, request_id));
    name_model(&mut response, Some(&opened.upstream_model));
    response.body(message)
}

fn name_model(response: &mut actix_web::HttpResponseBuilder, model: Option<&ModelId>) {
    // A model's id is any text; one that cannot stand in a header is in the log all the same.
    if let Some(value) = model.and_then(|model| HeaderValue::from_str(model.as_str()).ok()) {
        response.insert_header((UPSTREAM_MODEL, value));
    }
}

pub fn refuse(error: &ApiError, request_id: &str, record: &Record) -> HttpResponse {
    record.failed(error);
    record.answered(error.status);
    errors::response(error, request_id)
}
