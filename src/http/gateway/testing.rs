//! Upstreams and a worker for the tests of this folder: values only, nothing listens and nothing is asked.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::judge::{FailureJudge, Sent};
use super::listener::Worker;
use super::{Activity, Admission, GatewayContext, Upstream};
use crate::http::access::LocalToken;
use crate::http::tokens::Tokenizer;
use crate::http::upstream::BackendState;
use crate::http::upstream::credential::{Credential, CredentialSource};
use crate::ids::{Generation, ModelId, Slot};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::request::Translated;
use crate::providers::translate::{Dropped, Omissions, ReplyContext, ToolNames};
use crate::settings::{self, Settings, Source, Surroundings};

fn settings(backends: usize) -> Settings {
    let backend = |index: usize| {
        format!(
            "[backends.test-{index}]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:{}/v1\"\n\
             default_model = \"model-{index}\"\nsmall_model = \"small-{index}\"\n",
            index + 1
        )
    };
    let text: String = (0..backends).map(backend).collect();
    let source = Source { path: "test.toml".into(), folder: "/".into(), text, world_readable: false };
    let surroundings = Surroundings { env: &|_| None, file_exists: &|_| false, home: None, enabled_before: &[] };
    settings::load(Some(&source), &surroundings).expect("a config without a fault").settings
}

/// Backends `test-0`, `test-1`, …, each with its own models `model-N` and `small-N`.
pub fn upstreams(count: usize) -> Vec<Upstream> {
    let ours = settings(count).backends.into_iter().filter(|backend| backend.id.as_str().starts_with("test-"));
    ours.map(|backend| Upstream {
        model: backend.default_model.clone(),
        small_model: backend.small_model.clone(),
        backend: Arc::new(backend),
        state: Arc::new(BackendState::default()),
    })
    .collect()
}

/// A gateway's worker with one upstream.
pub fn worker() -> Rc<Worker> {
    let upstreams = upstreams(1);
    let context = GatewayContext {
        slot: Slot { backend: upstreams[0].backend.id.clone(), model: None::<ModelId> },
        generation: Generation(1),
        token: LocalToken::random().expect("a machine with randomness"),
        upstreams,
        settings: settings(1).upstream,
        credentials: CredentialSource::channel().0,
        tokenizer: Tokenizer::default(),
        rejection_threshold: 5,
        activity: Arc::new(Activity::new(Instant::now())),
        admission: Arc::new(ArcSwap::from_pointee(Admission::Open)),
        cut: CancellationToken::new(),
    };
    Rc::new(Worker::new(Arc::new(context)))
}

pub fn reply_context() -> ReplyContext {
    ReplyContext {
        profile: ProfileKind::Custom,
        requested_model: "anthropic/model-0".to_owned(),
        upstream_model: "model-0".into(),
        tool_names: ToolNames::default(),
        stop_sequences: Vec::new(),
        max_output_tokens: None,
        input_estimate: 10,
        scope: "0123456789ab".to_owned(),
    }
}

/// The judge of a request whose translated body was `body`.
pub fn judge(worker: &Rc<Worker>, body: &'static str) -> Box<FailureJudge> {
    let mut translated = Translated {
        body: Vec::new(),
        reply: reply_context(),
        cache_key: None,
        images: Vec::new(),
        dropped: Dropped::default(),
        effort: None,
        summary: false,
        system_in_middle: false,
        replayed_reasoning: None,
    };
    let sent = Sent {
        credential: &Credential::none(),
        body: body.into(),
        first_body: body.into(),
        context_window: None,
        replayed_reasoning: None,
        omit: Omissions::default(),
        parameter_retries: 0,
    };
    let upstream = worker.context.upstreams[0].clone();
    Box::new(FailureJudge::new(Rc::clone(worker), upstream, "model-0".into(), &mut translated, sent))
}
