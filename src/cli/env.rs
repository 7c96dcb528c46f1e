//! `claudette env`: the environment for a `claude` in another terminal.

use super::{Exit, service};
use crate::http::control::Wish;
use crate::providers::claude_cli::environment;

pub fn run(backend: String, model: Option<String>, json: bool) -> anyhow::Result<Exit> {
    let wish = Wish { backend: Some(backend), model, token: None };
    let granted = match service::block_on(async { service::Service::find()?.environment(&wish).await })? {
        Ok(granted) => granted,
        Err(trouble) => return Ok(trouble.tell()),
    };
    let inherited = |name: &str| std::env::var(name).ok();
    let environment = match &granted.wiring {
        Some(wiring) => environment::environment(wiring, &inherited),
        None => environment::without_wiring(&inherited),
    };
    if json {
        println!("{}", environment.to_json());
    } else {
        print!("{}", environment.to_shell());
    }
    if granted.wiring.is_some() {
        eprintln!("claudette: this shell holds no lease on the gateway; `claudette claude` does.");
    }
    Ok(Exit::Done)
}
