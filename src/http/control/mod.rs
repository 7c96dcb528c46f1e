//! The control endpoint: how `claudette status`, `env` and `claude` talk to the running service.
//!
//! HTTP on loopback, with the checks of a gateway and a token of its own. A request becomes a [`Question`] that carries
//! the way to its answer; status is rendered from the view that the Supervisor publishes. It knows no actor.

pub mod status;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BodyStream;
use actix_web::dev::{Server, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use self::status::StatusView;
use crate::http::access::{self, LocalToken, Refusal};
use crate::providers::claude_cli::environment::Wiring;

/// How long a slot that is started on demand may take (DESIGN.md §4).
const START_TIME: Duration = Duration::from_secs(10);

/// A prompt as JSON.
const TURN_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// What `env` and `claude` ask for; both fields may be left out (DESIGN.md §4).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wish {
    #[serde(default)]
    pub backend: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    /// The local token of the generation that a `claudette claude` held before the service restarted.
    #[serde(default)]
    pub token: Option<String>,
}

/// What a `claude` needs to be wired up; its environment is made of it where it starts, from the caller's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Granted {
    pub backend: String,
    /// Absent for the `anthropic` backend, which has no gateway.
    pub wiring: Option<Wiring>,
    /// The lease that this grant holds; absent for `env`.
    #[serde(skip)]
    pub lease: Option<u64>,
    /// The program that `[claude] bin` names.
    pub claude_bin: String,
}

/// A wish that cannot be granted: why, in a sentence for the terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Denied {
    pub reason: String,
}

/// What the control endpoint asks of the Supervisor.
pub enum Question {
    Environment {
        wish: Wish,
        answer: oneshot::Sender<Result<Granted, Denied>>,
    },
    Lease {
        wish: Wish,
        answer: oneshot::Sender<Result<Granted, Denied>>,
    },
    /// A session's turn needs a gateway.
    TurnLease {
        wish: Wish,
        answer: oneshot::Sender<Result<Granted, Denied>>,
    },
    /// The connection that held the lease has ended, or the turn.
    LeaseEnded {
        lease: u64,
    },
    /// `claudette turn`.
    Turn {
        session: String,
        /// Absent: the configured one.
        prompt: Option<String>,
        answer: oneshot::Sender<Result<TurnLines, Denied>>,
    },
    /// Ctrl-C in `claudette turn`.
    InterruptTurn {
        session: String,
        turn: u64,
    },
}

/// What `claudette turn` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TurnWish {
    pub session: String,
    #[serde(default)]
    pub prompt: Option<String>,
}

/// Which turn is to be interrupted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TurnInterrupt {
    pub session: String,
    pub turn: u64,
}

/// A queued turn, and what it will say. Who stops listening does not stop it.
pub struct TurnLines {
    pub turn: u64,
    pub lines: mpsc::Receiver<TurnLine>,
}

/// One line of a turn's stream; `Denied` and `Ended` are the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TurnLine {
    /// It waits for its session. Always the first.
    Queued {
        turn: u64,
    },
    Started,
    Text {
        text: String,
    },
    ToolUsed {
        tool: String,
    },
    /// It will not run.
    Denied {
        reason: String,
    },
    Ended {
        /// What the command is to exit with.
        code: u8,
        is_error: bool,
        /// What went wrong, if the text before does not say it.
        text: Option<String>,
    },
}

/// What the handlers share: their token, the way to the Supervisor, and the view that it publishes.
#[derive(Clone)]
pub struct ControlContext {
    pub token: Arc<LocalToken>,
    pub questions: mpsc::Sender<Question>,
    pub status: watch::Receiver<Arc<StatusView>>,
}

/// Binds a loopback port and starts to serve.
///
/// # Errors
/// The port cannot be bound or the server cannot start.
pub fn start(context: ControlContext) -> std::io::Result<(Server, ServerHandle, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Rc::new(context.clone()))
            .route("/status", web::get().to(status))
            .route("/environment", web::post().to(environment))
            .route("/lease", web::post().to(lease))
            .app_data(web::JsonConfig::default().limit(TURN_LIMIT_BYTES))
            .route("/turn", web::post().to(turn))
            .route("/turn/interrupt", web::post().to(interrupt_turn))
    })
    .workers(1)
    .disable_signals()
    // A lease ends with its connection: a half-closed one is closed.
    .h1_allow_half_closed(false)
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle, address))
}

async fn status(request: HttpRequest) -> HttpResponse {
    let context = match admitted(&request) {
        Ok(context) => context,
        Err(refusal) => return refused(refusal),
    };
    let view = context.status.borrow().clone();
    HttpResponse::Ok().json(view.report())
}

async fn environment(request: HttpRequest, wish: web::Json<Wish>) -> HttpResponse {
    let context = match admitted(&request) {
        Ok(context) => context,
        Err(refusal) => return refused(refusal),
    };
    let (answer, granted) = oneshot::channel();
    let question = Question::Environment { wish: wish.into_inner(), answer };
    match ask(&context, question, granted).await {
        Ok(granted) => HttpResponse::Ok().json(granted),
        Err(denied) => HttpResponse::Conflict().json(denied),
    }
}

/// The answer's first line is the grant; then the connection stays open, and the lease lives as long as it does.
async fn lease(request: HttpRequest, wish: web::Json<Wish>) -> HttpResponse {
    let context = match admitted(&request) {
        Ok(context) => context,
        Err(refusal) => return refused(refusal),
    };
    let (answer, granted) = oneshot::channel();
    let question = Question::Lease { wish: wish.into_inner(), answer };
    let granted = match ask(&context, question, granted).await {
        Ok(granted) => granted,
        Err(denied) => return HttpResponse::Conflict().json(denied),
    };
    let held = granted.lease.map(|lease| HeldLease { lease, questions: context.questions.clone() });
    let mut line = serde_json::to_vec(&granted).unwrap_or_default();
    line.push(b'\n');
    let first = stream::once(async move { Ok::<_, Infallible>(Bytes::from(line)) });
    let open = stream::pending().map(move |bytes| {
        let _ = &held;
        Ok(bytes)
    });
    HttpResponse::Ok().body(BodyStream::new(Box::pin(first.chain(open))))
}

/// One JSON line after the other until the turn ends. The turn does not need its listener: an end of the connection
/// leaves it running.
async fn turn(request: HttpRequest, wish: web::Json<TurnWish>) -> HttpResponse {
    let context = match admitted(&request) {
        Ok(context) => context,
        Err(refusal) => return refused(refusal),
    };
    let TurnWish { session, prompt } = wish.into_inner();
    let (answer, queued) = oneshot::channel();
    let asked = context.questions.send(Question::Turn { session, prompt, answer }).await;
    let queued = match asked {
        Ok(()) => queued.await.unwrap_or_else(|_| Err(stopping())),
        Err(_) => Err(stopping()),
    };
    match queued {
        Err(denied) => HttpResponse::Conflict().json(denied),
        Ok(TurnLines { turn, lines }) => {
            let first = stream::once(async move { TurnLine::Queued { turn } });
            let rest = stream::unfold(lines, |mut lines| async move { lines.recv().await.map(|line| (line, lines)) });
            let body = first.chain(rest).map(|line| {
                let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
                bytes.push(b'\n');
                Ok::<_, Infallible>(Bytes::from(bytes))
            });
            HttpResponse::Ok().content_type("application/x-ndjson").body(BodyStream::new(Box::pin(body)))
        }
    }
}

async fn interrupt_turn(request: HttpRequest, which: web::Json<TurnInterrupt>) -> HttpResponse {
    let context = match admitted(&request) {
        Ok(context) => context,
        Err(refusal) => return refused(refusal),
    };
    let TurnInterrupt { session, turn } = which.into_inner();
    match context.questions.send(Question::InterruptTurn { session, turn }).await {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(_) => HttpResponse::Conflict().json(stopping()),
    }
}

fn stopping() -> Denied {
    Denied { reason: "the service is stopping".to_owned() }
}

async fn ask(
    context: &ControlContext,
    question: Question,
    granted: oneshot::Receiver<Result<Granted, Denied>>,
) -> Result<Granted, Denied> {
    context.questions.send(question).await.map_err(|_| stopping())?;
    match tokio::time::timeout(START_TIME, granted).await {
        Ok(granted) => granted.unwrap_or_else(|_| Err(stopping())),
        Err(_) => Err(Denied { reason: "the gateway is not ready after 10 s: see `claudette status`".to_owned() }),
    }
}

/// Ends its lease when it is dropped, whatever ended the connection.
struct HeldLease {
    lease: u64,
    questions: mpsc::Sender<Question>,
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let (lease, questions) = (self.lease, self.questions.clone());
        // A full channel must not lose the end of a lease, and a drop cannot wait.
        actix_rt::spawn(async move {
            let _ = questions.send(Question::LeaseEnded { lease }).await;
        });
    }
}

fn admitted(request: &HttpRequest) -> Result<Rc<ControlContext>, Refusal> {
    access::check_origin(request.headers())?;
    let context = request.app_data::<Rc<ControlContext>>().ok_or(Refusal::TokenWrong)?;
    access::check_token(request.headers(), &context.token)?;
    Ok(Rc::clone(context))
}

/// As a gateway answers the same refusals.
fn refused(refusal: Refusal) -> HttpResponse {
    let (status, reason) = match refusal {
        Refusal::TokenMissing | Refusal::TokenWrong => {
            (StatusCode::UNAUTHORIZED, "the control token does not match".to_owned())
        }
        Refusal::ForeignHost | Refusal::WebPage => (StatusCode::FORBIDDEN, refusal.to_string()),
    };
    HttpResponse::build(status).json(Denied { reason })
}
