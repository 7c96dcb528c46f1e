//! Tables of the rules, one test per rule and named after it. Every body that a test makes passes [`invariants`], which
//! knows nothing of the translator.

mod conversation;
mod effort;
mod fixtures;
mod generated;
mod invariants;
mod lite;
mod parameters;
mod reasoning;
mod tools;

use serde_json::{Value, json};

use super::{RequestContext, Translated, translate, translate_for_count};
use crate::ids::ModelId;
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::openai::models::{ModelEntry, ModelFacts};
use crate::providers::profile::{Profile, ProfileKind};
use crate::providers::translate::{ApiError, Omissions};

const SCOPE: &str = "0123456789ab";
const KINDS: [ProfileKind; 3] = [ProfileKind::OpenAi, ProfileKind::Codex, ProfileKind::Custom];

/// Where a request goes.
struct Upstream {
    profile: Profile,
    model: &'static str,
    entry: Option<ModelEntry>,
    omit: Omissions,
    session: Option<&'static str>,
    agent: Option<&'static str>,
}

impl Upstream {
    fn of(kind: ProfileKind, model: &'static str) -> Self {
        let (entry, omit) = (None, Omissions::default());
        Self { profile: Profile::of(kind), model, entry, omit, session: None, agent: None }
    }

    fn openai() -> Self {
        Self::of(ProfileKind::OpenAi, "gpt-5.5")
    }

    fn codex() -> Self {
        Self::of(ProfileKind::Codex, "gpt-5.5")
    }

    fn custom() -> Self {
        Self::of(ProfileKind::Custom, "qwen3-coder")
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts::of(&ModelId::from(self.model), &self.profile, self.entry.as_ref())
    }

    fn context<'c>(&'c self, facts: &'c ModelFacts) -> RequestContext<'c> {
        RequestContext {
            profile: &self.profile,
            scope: SCOPE,
            model: facts,
            session_id: self.session,
            agent_id: self.agent,
            omit: &self.omit,
        }
    }

    fn try_bytes(&self, request: &[u8]) -> Result<Translated, ApiError> {
        let facts = self.facts();
        let translated = translate(&MessagesRequest::parse_for_count(request)?, &self.context(&facts))?;
        let body: Value = serde_json::from_slice(&translated.body).expect("the body is JSON");
        // The lite lane has a shape of its own.
        if !self.omit.full_lane || self.profile.kind != ProfileKind::Codex {
            invariants::check(self.profile.kind, &body);
        }
        Ok(translated)
    }

    /// The body that asks how many tokens a request has.
    fn count_body(&self, request: &Value) -> Value {
        let (facts, bytes) = (self.facts(), request.to_string());
        let request = MessagesRequest::parse_for_count(bytes.as_bytes()).expect("the request is read");
        let body = translate_for_count(&request, &self.context(&facts)).expect("the request is translated");
        serde_json::from_slice(&body).expect("the body is JSON")
    }

    fn translated(&self, request: &Value) -> Translated {
        self.try_bytes(request.to_string().as_bytes()).expect("the request is translated")
    }

    fn body(&self, request: Value) -> Value {
        serde_json::from_slice(&self.translated(&request).body).expect("the body is JSON")
    }

    /// The body of a request that holds `member` beside what every request has.
    fn body_with(&self, members: Value) -> Value {
        let mut request = json!({"model": "m", "max_tokens": 32000, "messages": [{"role": "user", "content": "hi"}]});
        for (key, value) in members.as_object().expect("members are an object") {
            request[key] = value.clone();
        }
        self.body(request)
    }

    /// The input items of a conversation.
    fn input(&self, messages: Value) -> Value {
        self.body(json!({"model": "m", "max_tokens": 32000, "messages": messages}))["input"].take()
    }

    /// The items of a user message with these blocks, after a call with the id `call_1`.
    fn after_call(&self, blocks: Value) -> Vec<Value> {
        let call = json!([{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]);
        let messages = json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": call},
            {"role": "user", "content": blocks},
        ]);
        self.input(messages).as_array().expect("input is an array")[2..].to_vec()
    }

    /// The output of a tool result with this content.
    fn output(&self, content: Value) -> Value {
        self.after_call(json!([{"type": "tool_result", "tool_use_id": "call_1", "content": content}]))[0]["output"]
            .take()
    }

    fn error(&self, request: Value) -> ApiError {
        self.try_bytes(request.to_string().as_bytes()).expect_err("the request is refused")
    }
}

/// A user's message of blocks, and the parts it becomes.
fn user_parts(upstream: &Upstream, blocks: Value) -> Value {
    upstream.input(json!([{"role": "user", "content": blocks}]))[0]["content"].take()
}
