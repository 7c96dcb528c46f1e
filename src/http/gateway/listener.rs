//! The accept loop of one gateway, on the thread that runs it.
//!
//! Not actix-web's `HttpServer`: that one loses connections when it stops and heals its workers behind our back, so a
//! death could neither be counted nor answered. Here the socket stays with the Supervisor, the loop works on a clone,
//! and connections made while no loop runs wait in the backlog for the next one.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::GatewayContext;
use super::connection::Connection;
use super::handlers;
use super::memory;
use super::refusals::Refusals;
use super::rejections::Rejections;
use crate::http::upstream::{UpstreamClient, route};
use crate::ids::{BackendId, ModelId};
use crate::providers::translate::Dropped;

/// `claude` keeps its connections and reuses them after long thoughts.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// For the first head of a connection; bodies have an idle limit of their own.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Out of descriptors: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Kinds of what was dropped that are told: a client may invent as many as it likes.
const MOST_TOLD: usize = 256;

/// What one gateway thread's handlers share. Clients are not `Send`: each thread has its own connections.
pub struct Worker {
    pub context: Arc<GatewayContext>,
    /// One for each of the context's upstreams, in the same order; an `Err` is said again to each request.
    pub clients: Vec<Result<UpstreamClient, String>>,
    /// By origin, for accounts whose workspace prescribes another one than the backend's.
    pub routed: RefCell<HashMap<String, Rc<UpstreamClient>>>,
    pub refusals: RefCell<Refusals>,
    pub rejections: RefCell<Rejections>,
    /// What was dropped and told already, by backend and kind.
    told: RefCell<HashSet<(BackendId, String)>>,
}

impl Worker {
    pub fn new(context: Arc<GatewayContext>) -> Self {
        let clients = context
            .upstreams
            .iter()
            .map(|upstream| {
                let target = route::target(&upstream.backend, &context.settings).map_err(|fault| fault.to_string())?;
                UpstreamClient::new(&target).map_err(|fault| fault.to_string())
            })
            .collect();
        Self {
            context,
            clients,
            routed: RefCell::default(),
            refusals: RefCell::default(),
            rejections: RefCell::default(),
            told: RefCell::default(),
        }
    }

    /// Tells of each kind of thing that translation cannot carry over, once.
    pub fn degraded(&self, backend: &BackendId, model: &ModelId, dropped: &Dropped) {
        for kind in dropped.iter() {
            let mut told = self.told.borrow_mut();
            if told.len() < MOST_TOLD && told.insert((backend.clone(), kind.to_owned())) {
                info!(
                    event = "request.degraded",
                    backend = %backend,
                    generation = self.context.generation.0,
                    model = %model,
                    dropped = kind,
                    "this does not reach the upstream, or only as text"
                );
            }
        }
    }
}

/// Accepts and serves until `stop` is cancelled, after telling `ready` where. Connections that are open then end with the thread.
///
/// # Errors
/// The socket cannot be cloned or registered with the runtime, or the application cannot be built.
pub async fn serve(
    socket: StdListener,
    context: Arc<GatewayContext>,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket)?;
    let worker = Rc::new(Worker::new(context));
    actix_rt::spawn(memory::give_back_when_idle(Arc::clone(&worker.context.activity), memory::give_back));
    let app = App::new().app_data(worker).default_service(web::to(handlers::not_found)).configure(handlers::routes);
    let http = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        // Otherwise a client that hangs up while the handler waits for the upstream's head is not noticed.
        .h1_allow_half_closed(false)
        .finish(map_config(
            actix_service::IntoServiceFactory::into_factory(app)
                .map_err(|error: actix_web::Error| error.error_response()),
            |()| AppConfig::default(),
        ));
    let factory = fn_service(|stream: TcpStream| {
        // Fails on a connection that is dead already.
        let _ = stream.set_nodelay(true);
        let peer = stream.peer_addr().ok();
        std::future::ready(Ok::<_, DispatchError>((Connection::new(stream), Protocol::Http1, peer)))
    })
    .and_then(http);
    let service = factory
        .new_service(())
        .await
        .map_err(|error| io::Error::other(format!("the gateway's application cannot start: {error:?}")))?;
    let service = Rc::new(service);
    ready(listener.local_addr()?);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => drop(actix_rt::spawn(service.call(connection))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}
