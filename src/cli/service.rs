//! The commands' side of the control endpoint: finds the running service and asks it.

use std::time::Duration;

use actix_http::error::PayloadError;
use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;

use super::Exit;
use crate::http::control::status::Report;
use crate::http::control::{Denied, Granted, TurnInterrupt, TurnLine, TurnWish, Wish};
use crate::state::{self, ControlFile, StateFolder};

/// Longer than the service itself waits for a slot to start.
const ANSWER_TIME: Duration = Duration::from_secs(15);
const GRANT_LIMIT: usize = 1024 * 1024;

/// Why the service gave no answer: each with its exit code and its sentence.
#[derive(Debug)]
pub enum Trouble {
    NotRunning,
    Denied(String),
    Broken(String),
}

impl Trouble {
    /// Says it on stderr.
    pub fn tell(&self) -> Exit {
        match self {
            Trouble::NotRunning => {
                eprintln!("claudette: no service is running. Start it with `claudette serve`.");
                Exit::NoService
            }
            Trouble::Denied(reason) => {
                eprintln!("claudette: {reason}");
                Exit::Failed
            }
            Trouble::Broken(reason) => {
                eprintln!("claudette: the service does not answer: {reason}");
                Exit::NoService
            }
        }
    }
}

/// The running service.
pub struct Service {
    control: ControlFile,
}

/// A held lease: it ends when this is dropped.
pub struct Lease {
    pub granted: Granted,
    pub connection: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
}

/// A turn that is being followed.
pub struct Turn {
    lines: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
    unread: Vec<u8>,
}

/// Runs a command's requests on a runtime of their own.
pub fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(actix_rt::Runtime::new().context("no runtime")?.block_on(future))
}

impl Service {
    pub fn find() -> Result<Self, Trouble> {
        let folder = StateFolder::open(|name| std::env::var_os(name));
        match folder.and_then(|folder| folder.service()) {
            Ok(state::Service::Running(control)) => Ok(Self { control }),
            Ok(state::Service::Absent) => Err(Trouble::NotRunning),
            Ok(state::Service::Unreachable { .. }) => Err(Trouble::Broken("it is starting or stopping".to_owned())),
            Err(fault) => Err(Trouble::Denied(fault.to_string())),
        }
    }

    pub async fn status(&self) -> Result<Report, Trouble> {
        let client = client();
        let mut response = self
            .request(client.get(self.url("status")))
            .send()
            .await
            .map_err(|error| Trouble::Broken(error.to_string()))?;
        response.json().limit(GRANT_LIMIT).await.map_err(|error| Trouble::Broken(error.to_string()))
    }

    pub async fn environment(&self, wish: &Wish) -> Result<Granted, Trouble> {
        let client = client();
        let mut response = self
            .request(client.post(self.url("environment")))
            .send_json(wish)
            .await
            .map_err(|error| Trouble::Broken(error.to_string()))?;
        let body = response.body().limit(GRANT_LIMIT).await.map_err(|error| Trouble::Broken(error.to_string()))?;
        granted(response.status().is_success(), &body)
    }

    /// Takes a lease, which lasts as long as the connection in it.
    pub async fn lease(&self, wish: &Wish) -> Result<Lease, Trouble> {
        let client = client();
        let response = self
            .request(client.post(self.url("lease")))
            .send_json(wish)
            .await
            .map_err(|error| Trouble::Broken(error.to_string()))?;
        let accepted = response.status().is_success();
        let mut connection = response.boxed_local();
        let mut line = Vec::new();
        while let Some(chunk) = connection.next().await {
            line.extend_from_slice(&chunk.map_err(|error| Trouble::Broken(error.to_string()))?);
            if line.ends_with(b"\n") || line.len() > GRANT_LIMIT {
                break;
            }
        }
        Ok(Lease { granted: granted(accepted, &line)?, connection })
    }

    /// Queues a turn of a session and follows it.
    pub async fn turn(&self, wish: &TurnWish) -> Result<Turn, Trouble> {
        let mut response = self
            .request(client().post(self.url("turn")))
            .send_json(wish)
            .await
            .map_err(|error| Trouble::Broken(error.to_string()))?;
        if response.status().is_success() {
            return Ok(Turn { lines: response.boxed_local(), unread: Vec::new() });
        }
        let body = response.body().limit(GRANT_LIMIT).await.map_err(|error| Trouble::Broken(error.to_string()))?;
        Err(refused(&body))
    }

    pub async fn interrupt_turn(&self, session: &str, turn: u64) -> Result<(), Trouble> {
        let which = TurnInterrupt { session: session.to_owned(), turn };
        let sent = self.request(client().post(self.url("turn/interrupt"))).send_json(&which).await;
        sent.map(|_| ()).map_err(|error| Trouble::Broken(error.to_string()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.control.address)
    }

    fn request(&self, request: awc::ClientRequest) -> awc::ClientRequest {
        request.bearer_auth(self.control.token.expose())
    }
}

fn client() -> awc::Client {
    awc::Client::builder().timeout(ANSWER_TIME).disable_redirects().finish()
}

fn granted(accepted: bool, body: &[u8]) -> Result<Granted, Trouble> {
    if accepted {
        return serde_json::from_slice(body).map_err(|error| Trouble::Broken(error.to_string()));
    }
    Err(refused(body))
}

fn refused(body: &[u8]) -> Trouble {
    match serde_json::from_slice::<Denied>(body) {
        Ok(denied) => Trouble::Denied(denied.reason),
        Err(_) => Trouble::Broken(String::from_utf8_lossy(body).into_owned()),
    }
}

impl Turn {
    /// The next line; none when the service has closed the stream.
    pub async fn next(&mut self) -> Result<Option<TurnLine>, String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|error| error.to_string());
            }
            match self.lines.next().await {
                Some(Ok(chunk)) => self.unread.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Ok(None),
            }
        }
    }
}
