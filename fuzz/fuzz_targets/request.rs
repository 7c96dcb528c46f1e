//! Request translation: whatever a client posts is refused with a 400 or becomes JSON, twice the same. The first byte
//! says where the request goes.
#![no_main]

use claudette::ids::ModelId;
use claudette::providers::anthropic::wire::MessagesRequest;
use claudette::providers::openai::models::ModelFacts;
use claudette::providers::profile::{Profile, ProfileKind};
use claudette::providers::translate::request::{
    RequestContext, Translated, endless_loop, translate, translate_for_count,
};
use claudette::providers::translate::{ApiError, Omissions, Parameter};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Some((&options, body)) = input.split_first() else { return };
    match (translated(options, body), translated(options, body)) {
        (Ok(one), Ok(two)) => {
            assert_eq!(one.body, two.body);
            let body: Value = serde_json::from_slice(&one.body).expect("a body is JSON");
            assert!(body["input"].as_array().is_some_and(|input| !input.is_empty()));
        }
        (Err(one), Err(two)) => {
            assert_eq!(one, two);
            assert_eq!(one.status, 400);
        }
        _ => panic!("the same request was translated and refused"),
    }
});

fn translated(options: u8, body: &[u8]) -> Result<Translated, ApiError> {
    let kind = [ProfileKind::OpenAi, ProfileKind::Codex, ProfileKind::Custom][usize::from(options % 3)];
    let profile = Profile::of(kind);
    let model = if options & 64 == 0 { "gpt-5.5" } else { "gpt-4.1" };
    let facts = ModelFacts::of(&ModelId::from(model), &profile, None);
    let omit = Omissions {
        parameters: if options & 128 == 0 { Default::default() } else { Parameter::ALL.into() },
        images: options & 32 != 0,
        ..Omissions::default()
    };
    let context = RequestContext {
        profile: &profile,
        scope: "0123456789ab",
        model: &facts,
        session_id: Some("00000000-0000-4000-8000-000000000000"),
        agent_id: None,
        omit: &omit,
    };
    let request = MessagesRequest::parse_for_count(body)?;
    let _ = endless_loop(&request);
    if let Ok(count) = translate_for_count(&request, &context) {
        serde_json::from_slice::<Value>(&count).expect("a body is JSON");
    }
    translate(&request, &context)
}
