//! ControlActor: owns the control endpoint and its entry in the state folder.

use std::sync::Arc;

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use tracing::warn;

use crate::http::control::{self, ControlContext};
use crate::state::{ControlFile, StateFolder, StoredToken};

pub struct ControlActor {
    folder: Arc<StateFolder>,
    handle: Option<ServerHandle>,
}

impl ControlActor {
    /// Binds the endpoint and writes `control.json`.
    ///
    /// # Errors
    /// The port cannot be bound, or the file cannot be written.
    pub fn start(context: ControlContext, folder: Arc<StateFolder>) -> std::io::Result<Addr<Self>> {
        let token = Arc::clone(&context.token);
        let (server, handle, address) = control::start(context)?;
        let file = ControlFile { pid: std::process::id(), address, token: StoredToken::new(token.expose()) };
        folder.store(StateFolder::CONTROL, &file).map_err(std::io::Error::other)?;
        actix_rt::spawn(server);
        Ok(Self { folder, handle: Some(handle) }.start())
    }
}

impl Actor for ControlActor {
    type Context = Context<Self>;
}

/// Take the entry away and stop answering.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Close;

impl Handler<Close> for ControlActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Close, _: &mut Self::Context) -> Self::Result {
        if let Err(fault) = self.folder.remove(StateFolder::CONTROL) {
            warn!(event = "library.logged", error = %fault, "control.json stays behind");
        }
        let handle = self.handle.take();
        let stopped = async move {
            if let Some(handle) = handle {
                handle.stop(false).await;
            }
        };
        Box::pin(stopped.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}
