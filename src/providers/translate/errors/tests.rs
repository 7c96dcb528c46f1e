//! The rows of WIRE.md §3.2, each with bodies as upstreams send them.

use std::collections::BTreeSet;

use super::*;

/// A request that failed; every test changes what it is about.
pub(super) struct Case {
    pub profile: ProfileKind,
    pub base_url: &'static str,
    pub model: &'static str,
    pub context_window: Option<u64>,
    pub input_tokens: u64,
    pub max_output_tokens: Option<u64>,
    pub effort: Option<Effort>,
    pub system_in_middle: bool,
    pub replayed_reasoning: Option<usize>,
    pub omit: Omissions,
    pub parameter_retries: u8,
    pub known_models: &'static [&'static str],
}

impl Default for Case {
    fn default() -> Self {
        Self {
            profile: ProfileKind::OpenAi,
            base_url: "https://api.openai.com/v1",
            model: "gpt-5.5",
            context_window: Some(272_000),
            input_tokens: 1_000,
            max_output_tokens: Some(32_000),
            effort: Some(Effort::Medium),
            system_in_middle: false,
            replayed_reasoning: Some(3),
            omit: Omissions::default(),
            parameter_retries: 0,
            known_models: &[],
        }
    }
}

/// Local time of all cases: 2025-11-23 06:13:20 UTC.
const NOW: u64 = 1_763_878_400;

impl Case {
    fn of(profile: ProfileKind) -> Self {
        Self { profile, ..Self::default() }
    }

    fn custom() -> Self {
        Self { model: "qwen3-coder", ..Self::of(ProfileKind::Custom) }
    }

    pub fn with<T>(self, run: impl FnOnce(&ErrorContext<'_>) -> T) -> T {
        let known_models: Vec<_> = self.known_models.iter().map(|id| model_entry(id)).collect();
        let attachment_path = |kind, place: Option<(usize, usize)>| match (kind, place) {
            (kind, Some((2, part))) => Some(format!(
                "messages.1.content.{part}.{}",
                if kind == Attachment::Image { "image" } else { "document" }
            )),
            (_, Some(_)) => None,
            (Attachment::Image, None) => Some("messages.7.content.0.image".to_owned()),
            (Attachment::Document, None) => Some("messages.8.content.0.document".to_owned()),
        };
        let keys: Vec<_> = Parameter::ALL.into_iter().filter(|key| !self.omit.parameters.contains(key)).collect();
        run(&ErrorContext {
            profile: self.profile,
            backend: &BackendId::new("some-backend"),
            base_url: self.base_url,
            model: &ModelId::new(self.model),
            context_window: self.context_window,
            input_tokens: self.input_tokens,
            max_output_tokens: self.max_output_tokens,
            effort: self.effort,
            summary: true,
            system_in_middle: self.system_in_middle,
            replayed_reasoning: self.replayed_reasoning,
            omit: &self.omit,
            body_keys: &keys,
            parameter_retries: self.parameter_retries,
            attachment_path: &attachment_path,
            known_models: &known_models,
            now_unix: NOW,
            login: "check OPENAI_API_KEY",
            secrets: &["SECRET-1234"],
        })
    }

    fn judge(self, status: u16, body: &str) -> Verdict {
        self.with(|context| judge(&UpstreamReply::of_status(status, body.as_bytes()), context))
    }

    fn answer(self, status: u16, body: &str) -> Answer {
        answer_of(self.judge(status, body))
    }

    fn answer_in_stream(self, body: &str) -> Answer {
        answer_of(self.with(|context| judge(&UpstreamReply::in_stream(body.as_bytes()), context)))
    }
}

fn answer_of(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Answer(answer) => answer,
        Verdict::Retry(repair) => panic!("no answer but {repair:?}"),
    }
}

fn model_entry(id: &str) -> ModelEntry {
    ModelEntry {
        id: ModelId::new(id),
        display_name: id.to_owned(),
        context_window: None,
        hidden: false,
        efforts: Vec::new(),
        fast_tier: false,
        lite: id.starts_with("gpt-6"),
    }
}

fn fixture(path: &str) -> String {
    let path = format!("{}/tests/fixtures/codex/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// Status and body of a recorded error.
fn recorded(name: &str) -> (u16, String) {
    let recorded: serde_json::Value = serde_json::from_str(&fixture(&format!("errors/{name}.json"))).unwrap();
    let body = match &recorded["body"] {
        serde_json::Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    (recorded["status"].as_u64().unwrap() as u16, body)
}

/// The data of the last event of a recorded stream.
fn last_event(name: &str) -> String {
    fixture(&format!("sse/{name}.sse")).lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned()
}

#[test]
fn codex_errors_keep_their_meaning() {
    use ErrorKind::*;
    let cases = [
        ("400_input_not_list", 400, InvalidRequest, Some(false), "Input must be a list"),
        ("400_instructions_required", 400, InvalidRequest, Some(false), "Instructions are required"),
        ("400_lite_context", 400, InvalidRequest, Some(false), "requires `reasoning.context`"),
        ("400_lite_tools", 400, InvalidRequest, Some(false), "only supports function tools"),
        ("400_model_not_supported", 404, NotFound, Some(false), "model: gpt-5.5: The 'gpt-x' model is not supported"),
        ("400_store_true", 400, InvalidRequest, Some(false), "Store must be set to false"),
        ("400_stream_false", 400, InvalidRequest, Some(false), "Stream must be set to true"),
        ("400_system_role", 400, InvalidRequest, Some(false), "System messages are not allowed"),
        ("401_token_expired", 401, Authentication, Some(false), "token is expired"),
        ("401_token_invalidated", 401, Authentication, Some(false), "has been invalidated"),
        ("401_unauthorized_detail", 401, Authentication, Some(false), "Unauthorized"),
        ("402_deactivated_workspace", 403, Permission, Some(false), "deactivated_workspace"),
        ("403_cloudflare", 502, Api, Some(false), "blocked by Cloudflare: Just a moment... Cloudflare blocked"),
        ("403_invalid_workspace_selected", 403, Permission, Some(false), "invalid_workspace_selected"),
        ("404_model_not_found", 404, NotFound, Some(false), "model: gpt-5.5: Model not found gpt-x"),
        ("429_rate_limit_exceeded", 429, RateLimit, None, "filler"),
        ("429_usage_limit_reached", 429, RateLimit, Some(false), "ChatGPT plan limit reached (plus); resets 2026-11-2"),
        ("429_usage_not_included", 403, Permission, Some(false), "filler"),
        ("503_server_is_overloaded", 529, Overloaded, Some(true), "filler"),
    ];
    for (name, status, kind, should_retry, words) in cases {
        let (upstream_status, body) = recorded(name);
        let error = Case::of(ProfileKind::Codex).answer(upstream_status, &body).error;
        assert_eq!((error.status, error.kind, error.should_retry), (status, kind, should_retry), "{name}: {error:?}");
        assert!(error.message.contains(words), "{name}: {error:?}");
    }
}

#[test]
fn codex_failures_in_a_stream_are_judged_like_replies() {
    use ErrorKind::*;
    let cases = [
        (
            "failed_context_length",
            400,
            InvalidRequest,
            Some(false),
            "prompt is too long: 299200 tokens > 272000 maximum",
        ),
        ("failed_cyber_policy", 400, InvalidRequest, Some(false), "possible cybersecurity risk"),
        ("failed_insufficient_quota", 402, Billing, Some(false), "exceeded your current quota"),
        ("failed_invalid_prompt", 400, InvalidRequest, Some(false), "Invalid prompt: flagged."),
        ("failed_model_not_found", 404, NotFound, Some(false), "model: gpt-5.5: "),
        ("failed_rate_limit_exceeded", 429, RateLimit, None, "try again in"),
        ("failed_server_error", 500, Api, None, ""),
        ("failed_server_overloaded", 529, Overloaded, Some(true), "currently overloaded"),
        ("failed_slow_down", 429, RateLimit, None, "Slow down."),
        ("failed_usage_limit_reached", 429, RateLimit, Some(false), "ChatGPT plan limit reached (pro); resets "),
        ("failed_usage_not_included", 403, Permission, Some(false), "not included"),
        ("error_event", 500, Api, None, "The server had an error"),
    ];
    for (name, status, kind, should_retry, words) in cases {
        let error = Case::of(ProfileKind::Codex).answer_in_stream(&last_event(name)).error;
        assert_eq!((error.status, error.kind, error.should_retry), (status, kind, should_retry), "{name}: {error:?}");
        assert!(error.message.contains(words), "{name}: {error:?}");
    }
}

#[test]
fn q0_5_refused_keys_are_left_out() {
    use Parameter::*;
    let cases: [(u16, &str, &[Parameter]); 14] = [
        (400, r#"{"detail":"Unsupported parameter: max_output_tokens"}"#, &[MaxOutputTokens]),
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'temperature' is not supported","param":"temperature"}}"#,
            &[Temperature],
        ),
        (
            422,
            r#"{"detail":"Unexpected fields in the request: {'store', 'safety_identifier'}"}"#,
            &[Store, SafetyIdentifier],
        ),
        (
            400,
            r#"{"error":{"message":"1 validation error:\n {'text': 1}","param":"body.max_output_tokens","code":400}}"#,
            &[MaxOutputTokens],
        ),
        (
            400,
            r#"{"error":{"message":"max_output_tokens=70000 cannot be greater than max_model_len=65536","param":"max_tokens","code":400}}"#,
            &[MaxOutputTokens],
        ),
        (422, r#"{"detail":[{"loc":["body","service_tier"],"msg":"extra fields not permitted"}]}"#, &[ServiceTier]),
        (400, r#"{"error":{"message":"response_format is unavailable"}}"#, &[Text]),
        (400, r#"{"error":{"message":"The `top_p` and `include` settings are refused"}}"#, &[TopP, Include]),
        (400, r#"{"error":{"message":"prompt_cache_key is not known here."}}"#, &[PromptCacheKey]),
        (
            400,
            r#"{"error":{"message":"Unknown parameter: 'stream_options.include_obfuscation'.","param":"stream_options.include_obfuscation"}}"#,
            &[StreamOptions],
        ),
        (
            400,
            r#"{"error":{"message":"Encrypted content is not supported with this model.","param":"include"}}"#,
            &[Include],
        ),
        (400, r#"{"error":{"message":"unknown field reasoning and key temperature"}}"#, &[Temperature, Reasoning]),
        (
            500,
            r#"data: {"error":{"message":"litellm.BadRequestError: unknown argument tool_choice","code":"400"}}

data: [DONE]"#,
            &[ToolChoice],
        ),
        (400, &recorded("400_lite_parallel").1, &[ParallelToolCalls]),
    ];
    for (status, body, expected) in cases {
        let mut expected = expected.to_vec();
        expected.sort();
        let verdict = Case { effort: None, ..Case::custom() }.judge(status, body);
        assert_eq!(verdict, Verdict::Retry(Repair::WithoutParameters(expected)), "{body}");
    }
}

#[test]
fn q0_5_a_refused_effort_is_left_out_before_reasoning_is() {
    let bodies = [
        r#"{"error":{"message":"reasoning_effort='none' is not supported by Harmony. Supported values are: high, medium, low.","param":"reasoning_effort","code":400}}"#,
        r#"{"error":{"message":"Unsupported value: 'xhigh'","param":"reasoning.effort","code":"unsupported_value"}}"#,
        r#"{"detail":"unexpected key: 'enable_thinking'"}"#,
        r#"{"detail":"`effort` is unknown"}"#,
    ];
    for body in bodies {
        assert_eq!(Case::custom().judge(400, body), Verdict::Retry(Repair::WithoutEffort(Effort::Medium)), "{body}");
        let omit = Omissions { efforts: BTreeSet::from([Effort::Medium]), ..Omissions::default() };
        let verdict = Case { omit, ..Case::custom() }.judge(400, body);
        assert_eq!(verdict, Verdict::Retry(Repair::WithoutParameters(vec![Parameter::Reasoning])), "{body}");
    }
}

#[test]
fn q0_5_reasoning_refused_beside_others_gets_an_attempt_of_its_own() {
    let body = r#"{"detail":"Unexpected fields in the request: {'reasoning', 'store'}"}"#;
    let verdict = Case::custom().judge(422, body);
    assert_eq!(verdict, Verdict::Retry(Repair::WithoutParameters(vec![Parameter::Store])));
}

#[test]
fn q0_5_what_names_no_key_of_ours_is_the_answer() {
    let bodies = [
        r#"{"error":{"message":"Invalid value: 'text'. Supported values are: 'input_text'","param":"input[0].content[0].type"}}"#,
        r#"{"error":{"message":"item['content'] is not an array"}}"#,
        r#"{"detail":[{"loc":["body","input",0,"text"],"msg":"'text' is no valid item"}]}"#,
        r#"{"error":{"message":"Invalid schema for response","param":"text.format.schema"}}"#,
        r#"{"error":{"message":"Tool choice 'function' not found in 'tools' parameter."}}"#,
        r#"{"detail":"Unsupported parameter: model"}"#,
        r#"{"error":{"message":"the text and the reasoning of your store are odd"}}"#,
    ];
    for body in bodies {
        let error = Case::custom().answer(400, body).error;
        assert_eq!((error.status, error.kind, error.should_retry), (400, ErrorKind::InvalidRequest, Some(false)));
    }
}

#[test]
fn q0_5_ends_after_three_retries_and_never_drops_a_key_that_was_not_sent() {
    let body = r#"{"detail":"Unsupported parameter: temperature"}"#;
    assert!(matches!(Case { parameter_retries: 2, ..Case::custom() }.judge(400, body), Verdict::Retry(_)));
    let tired = Case { parameter_retries: 3, ..Case::custom() }.answer(400, body);
    assert_eq!(tired.error.message, "Unsupported parameter: temperature");
    let omit = Omissions { parameters: BTreeSet::from([Parameter::Temperature]), ..Omissions::default() };
    assert_eq!(Case { omit, ..Case::custom() }.answer(400, body).error.status, 400);
    assert_eq!(Case::custom().answer(500, body).error.status, 500, "only a 400 or 422 refuses");
}

#[test]
fn q_r7_refused_reasoning_is_left_out_once_then_the_signature_is_invalid() {
    let bodies = [
        r#"{"error":{"message":"bad","type":"invalid_request_error","code":"invalid_encrypted_content"}}"#,
        r#"{"error":{"message":"The encrypted content gAAA could not be verified."}}"#,
        r#"{"error":{"message":"Item 'rs_1' of type 'reasoning' was provided without its required following item."}}"#,
        r#"{"error":{"message":"Item 'msg_1' of type 'message' was provided without its required 'reasoning' item: 'rs_1'."}}"#,
        r#"{"error":{"message":"Encrypted content is not supported"}}"#,
    ];
    for body in bodies {
        assert_eq!(Case::default().judge(400, body), Verdict::Retry(Repair::WithoutReasoningItems), "{body}");
        let omit = Omissions { reasoning_items: true, ..Omissions::default() };
        let error = Case { omit, ..Case::default() }.answer(400, body).error;
        assert_eq!(error.message, "messages.3.content.0: Invalid `signature` in `thinking` block");
        assert_eq!((error.status, error.kind), (400, ErrorKind::InvalidRequest));
        let none = Case { replayed_reasoning: None, ..Case::default() }.answer(400, body).error;
        assert_eq!(none.message, "messages.1.content.0: Invalid `signature` in `thinking` block");
    }
}

#[test]
fn sent_parameters_are_the_keys_of_the_body_that_may_go() {
    let body =
        br#"{"model":"m","input":[{"type":"message","text":"store"}],"store":false,"text":{"top_p":1},"stream":true}"#;
    assert_eq!(sent_parameters(body), [Parameter::Store, Parameter::Text]);
    assert_eq!(sent_parameters(b"[]"), []);
}

#[test]
fn q_e6_a_refused_summary_is_left_out_once() {
    let bodies = [
        r#"{"error":{"message":"Your organization must be verified to generate reasoning summaries.","param":"reasoning.summary","code":"unsupported_value"}}"#,
        r#"{"error":{"message":"Unsupported parameter: 'reasoning.summary'","param":"reasoning.summary"}}"#,
    ];
    for body in bodies {
        assert_eq!(Case::default().judge(400, body), Verdict::Retry(Repair::WithoutSummary));
        let omit = Omissions { summary: true, ..Omissions::default() };
        assert_eq!(Case { omit, ..Case::default() }.answer(400, body).error.status, 400);
    }
}

#[test]
fn a_blind_custom_model_gets_the_request_without_images_once() {
    let bodies = [
        (
            500,
            r#"{"error":{"code":500,"message":"image input is not supported - hint: you may need mmproj","type":"server_error"}}"#,
        ),
        (400, r#"{"error":{"message":"tiny is not a multimodal model","code":400}}"#),
    ];
    for (status, body) in bodies {
        assert_eq!(Case::custom().judge(status, body), Verdict::Retry(Repair::WithoutImages));
        let omit = Omissions { images: true, ..Omissions::default() };
        let again = Case { omit, ..Case::custom() }.answer(status, body).error;
        assert!(again.message.starts_with("messages.7.content.0.image: Could not process image: "), "{again:?}");
        let known_vendor = Case::default().answer(status, body).error;
        assert_eq!((known_vendor.status, known_vendor.should_retry), (400, Some(false)));
    }
}

#[test]
fn image_and_pdf_errors_name_the_block() {
    let cases = [
        (
            r#"{"error":{"code":"invalid_image_url","message":"no"}}"#,
            "messages.7.content.0.image: Could not process image: no",
        ),
        (
            r#"{"error":{"code":"image_parse_error","message":"no","param":"input[2].content[3].image_url"}}"#,
            "messages.1.content.3.image: Could not process image: no",
        ),
        (
            r#"{"error":{"message":"Invalid 'input[2].output[1].image_url'. Expected base64"}}"#,
            "messages.1.content.1.image: Could not process image: Invalid",
        ),
        (
            r#"{"error":{"code":"empty_image_file","message":"no","param":"input[9].content[3]"}}"#,
            "messages.7.content.0.image: Could",
        ),
        (
            r#"{"error":{"code":"invalid_file","message":"damaged","param":"input[2].content[0].file_data"}}"#,
            "messages.1.content.0.document: The PDF specified was not valid: damaged",
        ),
        (
            r#"{"error":{"message":"Could not read the PDF"}}"#,
            "messages.8.content.0.document: The PDF specified was not valid: Could",
        ),
    ];
    for (body, words) in cases {
        let error = Case::default().answer(400, body).error;
        assert!(error.message.starts_with(words), "{body}: {error:?}");
        assert_eq!((error.status, error.kind, error.should_retry), (400, ErrorKind::InvalidRequest, Some(false)));
    }
}

#[test]
fn overflows_are_worded_so_that_claude_compacts() {
    let v_bound = "This model's maximum context length is 65536 tokens. However, your prompt contains at least 65537 input tokens, please shorten";
    let v_characters = "This model's maximum context length is 65536 tokens. However, your prompt contains 2000055 characters (more than 1572864 characters, which is the upper bound for 65536 input tokens).";
    let llama = r#"{"error":{"code":400,"message":"request (80067 tokens) exceeds the available context size (65536 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":80067,"n_ctx":65536}}"#;
    let wrapped = format!("litellm.ContextWindowExceededError: {v_bound}");
    let lm_studio = "The number of tokens to keep from the initial prompt is greater than the context length. n_keep: 5,000 >= n_ctx: 4,096";
    // (status, body or message, local count, window, N, L)
    let cases = [
        (400, v_bound, 1_000, None, 72_090, 65_536),
        (400, v_bound, 90_000, None, 90_000, 65_536),
        (400, v_characters, 500_000, None, 500_000, 65_536),
        (400, llama, 1_000, Some(9), 80_067, 65_536),
        (500, wrapped.as_str(), 1_000, None, 72_090, 65_536),
        (400, lm_studio, 10, None, 5_000, 4_096),
        (413, "This exceeds the context window", 100, Some(200_000), 220_000, 200_000),
        (400, "Input is too long for the model", 1_000, None, 1_000, 950),
        (400, "your messages resulted in 131000 tokens, maximum context length is 128000", 5, None, 131_000, 128_000),
        (400, "you requested 131000 tokens; the context length is 128000", 5, None, 131_000, 128_000),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", 5, None, 210_000, 200_000),
    ];
    for (status, text, input_tokens, context_window, input, limit) in cases {
        let body = if text.starts_with('{') {
            text.to_owned()
        } else {
            serde_json::json!({"error": {"message": text}}).to_string()
        };
        let case = Case { input_tokens, context_window, max_output_tokens: None, ..Case::custom() };
        let error = case.answer(status, &body).error;
        assert_eq!(error.message, format!("prompt is too long: {input} tokens > {limit} maximum"), "{text}");
        assert_eq!((error.status, error.kind, error.should_retry), (400, ErrorKind::InvalidRequest, Some(false)));
    }
}

#[test]
fn overflow_codes_count_without_words() {
    let bodies = [
        r#"{"error":{"code":"context_length_exceeded","message":"no"}}"#,
        r#"{"error":{"type":"context_too_large","message":"no"}}"#,
        r#"{"error":{"code":"string_above_max_length","message":"no","param":"input[3].content[0].text"}}"#,
    ];
    for body in bodies {
        let error = Case::default().answer(400, body).error;
        assert_eq!(error.message, "prompt is too long: 299200 tokens > 272000 maximum", "{body}");
    }
    let other = r#"{"error":{"code":"string_above_max_length","message":"no","param":"metadata.x"}}"#;
    assert_eq!(Case::default().answer(400, other).error.message, "no");
}

#[test]
fn a_rate_limit_on_tokens_is_no_overflow() {
    let error = Case::default().answer(429, r#"{"error":{"message":"Too many tokens per minute, please wait"}}"#).error;
    assert_eq!((error.status, error.kind), (429, ErrorKind::RateLimit));
}

#[test]
fn a_cap_beside_an_input_that_fits_is_worded_so_that_claude_lowers_it() {
    let cases = [
        ("input length and `max_tokens` exceed context limit: 100000 + 32000 > 128000", "100000 + 32000 > 128000"),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (1000 in the messages, 8000 in the completion).",
            "1000 + 8000 > 8192",
        ),
        (
            "You passed 60000 input tokens and requested 8000 output tokens. However, the model's context length is only 65536 tokens.",
            "60000 + 8000 > 65536",
        ),
        (
            "'max_tokens' is too large: 32000. This model's maximum context length is 32768 tokens and your request has 5000 input tokens (32000 > 32768 - 5000).",
            "5000 + 32000 > 32768",
        ),
    ];
    for (text, sum) in cases {
        let body = serde_json::json!({"error": {"message": text}}).to_string();
        let error = Case::custom().answer(400, &body).error;
        let wanted = format!(
            "input length and `max_tokens` exceed context limit: {sum}, decrease input length or `max_tokens` and try again"
        );
        assert_eq!(error.message, wanted, "{text}");
        assert_eq!((error.status, error.should_retry), (400, None));
    }
}

#[test]
fn a_cap_as_large_as_the_window_is_left_out_instead_of_compacting() {
    let body = r#"{"error":{"message":"max_output_tokens exceeds: the maximum context length is 16000 tokens"}}"#;
    assert_eq!(
        Case::custom().judge(400, body),
        Verdict::Retry(Repair::WithoutParameters(vec![Parameter::MaxOutputTokens]))
    );
}

#[test]
fn q_m5_a_refused_system_message_is_worded_so_that_claude_folds_it() {
    let cases = [
        (400, r#"{"detail":"System messages are not allowed"}"#),
        (
            400,
            r#"{"error":{"message":"Invalid value: 'developer'. Supported values are: 'user'","param":"input[1].role"}}"#,
        ),
        (422, r#"{"detail":[{"loc":["body","input",1,"role"],"msg":"Input should be 'user' or 'assistant'"}]}"#),
        (500, r#"{"error":{"message":"System message must be at the beginning.","type":"server_error"}}"#),
        (400, r#"{"error":{"message":"Unexpected message role."}}"#),
        (400, r#"{"error":{"message":"Only user and assistant roles are supported!"}}"#),
    ];
    for (status, body) in cases {
        let error = Case { system_in_middle: true, ..Case::custom() }.answer(status, body).error;
        assert_eq!((error.status, error.kind, error.should_retry), (400, ErrorKind::InvalidRequest, Some(false)));
        assert!(error.message.starts_with("role 'system' is not supported: "), "{body}: {error:?}");
        let without = Case::custom().answer(status, body).error;
        assert!(!without.message.contains("role 'system' is not supported"), "{body}: {without:?}");
    }
    let other = Case { system_in_middle: true, ..Case::custom() }.answer(400, r#"{"error":"bad schema"}"#).error;
    assert_eq!(other.message, "bad schema");
}

#[test]
fn every_other_row_has_its_status_type_and_retry() {
    use ErrorKind::*;
    let cases: [(u16, &str, u16, ErrorKind, Option<bool>); 36] = [
        (401, r#"{"error":"Unauthorized"}"#, 401, Authentication, Some(false)),
        (
            400,
            r#"{"error":{"message":"No connected db.","type":"no_db_connection","code":"400"}}"#,
            401,
            Authentication,
            Some(false),
        ),
        (
            400,
            r#"{"error":{"message":"API key not valid","code":"invalid_api_key"}}"#,
            401,
            Authentication,
            Some(false),
        ),
        (403, r#"{"error":{"message":"not for you"}}"#, 403, Permission, Some(false)),
        (
            400,
            r#"{"error":{"code":"unsupported_country_region_territory","message":"no"}}"#,
            403,
            Permission,
            Some(false),
        ),
        (400, r#"{"error":{"code":"ip_not_authorized","message":"no"}}"#, 403, Permission, Some(false)),
        (400, r#"{"error":{"message":"Invalid model name passed in model=x"}}"#, 404, NotFound, Some(false)),
        (400, r#"{"detail":"Server is pinned to 'X'; requested 'Y'."}"#, 404, NotFound, Some(false)),
        (404, r#"{"error":{"message":"no","code":"model_not_found"}}"#, 404, NotFound, Some(false)),
        (404, r#"{"detail":"Not Found"}"#, 404, NotFound, Some(false)),
        (404, r#"{"error":{"type":"usage_limit_reached","message":"no"}}"#, 429, RateLimit, Some(false)),
        (403, r#"{"error":{"type":"usage_limit_reached","message":"no"}}"#, 429, RateLimit, Some(false)),
        (429, r#"{"error":{"code":"workspace_owner_credits_depleted","message":"no"}}"#, 429, RateLimit, Some(false)),
        (429, r#"{"error":{"code":"insufficient_quota","message":"no"}}"#, 402, Billing, Some(false)),
        (400, r#"{"error":{"code":"billing_hard_limit_reached","message":"no"}}"#, 402, Billing, Some(false)),
        (402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, 402, Billing, Some(false)),
        (429, "", 429, RateLimit, None),
        (503, "", 529, Overloaded, Some(true)),
        (500, r#"{"error":{"message":"Selected model is at capacity."}}"#, 529, Overloaded, Some(true)),
        (400, r#"{"error":{"code":"content_policy_violation","message":"no"}}"#, 400, InvalidRequest, Some(false)),
        (
            422,
            r#"{"detail":[{"loc":["body","input"],"msg":"bad"},{"loc":[],"msg":"worse"}]}"#,
            400,
            InvalidRequest,
            Some(false),
        ),
        (408, "", 504, Api, None),
        (504, "<html>gateway timeout</html>", 504, Api, None),
        (500, r#"{"error":{"message":"Failed to load model: out of memory"}}"#, 400, InvalidRequest, Some(false)),
        (302, "", 502, Api, Some(false)),
        (500, r#"{"error":{"message":"boom"}}"#, 500, Api, None),
        (500, "", 502, Api, None),
        (500, "<html><body>boom</body></html>", 502, Api, None),
        (502, "bad gateway", 502, Api, None),
        (520, "", 502, Api, None),
        (409, r#"{"error":"conflict"}"#, 502, Api, None),
        (413, "<html><title>413 Request Entity Too Large</title></html>", 413, RequestTooLarge, Some(false)),
        (405, r#"{"detail":"Method Not Allowed"}"#, 404, NotFound, Some(false)),
        (418, "teapot", 400, InvalidRequest, Some(false)),
        (200, r#"{"error":{"message":"boom","code":400}}"#, 400, InvalidRequest, Some(false)),
        (200, r#"{"type":"error","status":429,"error":{"message":"slow"}}"#, 429, RateLimit, None),
    ];
    for (upstream_status, body, status, kind, should_retry) in cases {
        let error = Case::custom().answer(upstream_status, body).error;
        let got = (error.status, error.kind, error.should_retry);
        assert_eq!(got, (status, kind, should_retry), "{upstream_status} {body}: {error:?}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn a_challenge_header_is_cloudflare_whatever_the_body() {
    let reply = UpstreamReply { cloudflare: true, ..UpstreamReply::of_status(403, b"{}") };
    let error = answer_of(Case::default().with(|context| judge(&reply, context))).error;
    assert_eq!((error.status, error.kind, error.should_retry), (502, ErrorKind::Api, Some(false)));
    assert!(error.message.contains("blocked by Cloudflare"));
}

#[test]
fn a_401_says_whose_credential_it_is_and_what_to_do() {
    let error =
        Case::default().answer(401, r#"{"error":{"message":"Incorrect API key provided: SECRET-1234."}}"#).error;
    assert_eq!(
        error.message,
        "https://api.openai.com/v1 refused the credential of backend some-backend: Incorrect API key provided: ***. \
         Not claude's own login: check OPENAI_API_KEY"
    );
}

#[test]
fn an_unknown_model_gets_the_nearest_known_ids() {
    let known_models = &["o3", "gpt-5.5", "gpt-5.4", "text-davinci", "gpt-5.5-mini"];
    let case = Case { model: "gpt-5.6", known_models, ..Case::default() };
    let error = case
        .answer(404, r#"{"error":{"message":"The model `gpt-5.6` does not exist","code":"model_not_found"}}"#)
        .error;
    assert_eq!(
        error.message,
        "model: gpt-5.6: The model `gpt-5.6` does not exist (nearest known ids: gpt-5.4, gpt-5.5, gpt-5.5-mini)"
    );
}

#[test]
fn a_404_that_is_not_about_a_model_is_about_the_base_url() {
    for body in [r#"{"detail":"Not Found"}"#, "File Not Found", "", "<html>nginx</html>"] {
        let error = Case::custom().answer(404, body).error;
        assert_eq!(error.message, "no /responses at https://api.openai.com/v1: check base_url", "{body}");
    }
    let names_it = Case::custom().answer(404, r#"{"error":"QWEN3-coder is not here"}"#).error;
    assert!(names_it.message.starts_with("model: qwen3-coder: "), "{names_it:?}");
}

#[test]
fn a_redirect_names_its_target() {
    let reply = UpstreamReply { location: Some("https://elsewhere.example/v1"), ..UpstreamReply::of_status(307, b"") };
    let error = answer_of(Case::default().with(|context| judge(&reply, context))).error;
    assert!(error.message.contains("HTTP 307 to https://elsewhere.example/v1"), "{error:?}");
}

#[test]
fn a_used_up_quota_says_when_it_is_back() {
    let body = |reset: &str| {
        format!(r#"{{"error":{{"type":"usage_limit_reached","message":"used up","plan_type":"plus",{reset}}}}}"#)
    };
    let cases = [
        (format!(r#""resets_at":{},"resets_in_seconds":9"#, NOW + 90), Some(90)),
        (format!(r#""resets_at":{},"resets_in_seconds":70"#, NOW - 90), Some(70)),
        (r#""resets_in_seconds":"60""#.to_owned(), Some(60)),
        (r#""resets_at":null"#.to_owned(), None),
    ];
    for (reset, retry_after) in cases {
        let answer = Case::of(ProfileKind::Codex).answer(429, &body(&reset));
        assert_eq!(answer.error.retry_after, retry_after, "{reset}");
        assert_eq!(answer.class.quota, Some(Quota { resets_at: retry_after.map(|seconds| NOW + seconds) }));
        assert_eq!(answer.class.code, "usage_limit_reached");
    }
    let named = Case::of(ProfileKind::Codex).answer(429, &body(&format!(r#""resets_at":{}"#, 1_795_514_400)));
    assert_eq!(named.error.message, "ChatGPT plan limit reached (plus); resets 2026-11-24 10:00 UTC");
    let passed_on = Case::default().answer(429, &body(r#""resets_at":null"#));
    assert_eq!(passed_on.error.message, "ChatGPT plan limit reached (plus)");
    let other = Case::default().answer(429, r#"{"error":{"type":"usage_limit_reached","message":"used up"}}"#);
    assert_eq!(other.error.message, "used up");
}

#[test]
fn a_rate_limit_tells_how_long_to_wait_and_never_above_a_minute() {
    let cases = [
        (Some("7"), "try again in 90s", Some(7)),
        (Some("1.2"), "", Some(2)),
        (Some("400"), "", Some(60)),
        (Some("Wed, 25 Nov 2026 01:00:00 GMT"), "Please try again in 20s.", Some(20)),
        (None, "Please try again in 11.054s. Visit", Some(12)),
        (None, "Please try again in 28ms.", Some(1)),
        (None, "try again in 3 seconds", Some(3)),
        (None, "Please try again in 1m0.5s.", Some(60)),
        (None, "try again in a moment", None),
    ];
    for (header, text, retry_after) in cases {
        let body = serde_json::json!({"error": {"message": text, "code": "rate_limit_exceeded"}}).to_string();
        let reply = UpstreamReply { retry_after: header, ..UpstreamReply::of_status(429, body.as_bytes()) };
        let error = answer_of(Case::default().with(|context| judge(&reply, context))).error;
        assert_eq!(error.retry_after, retry_after, "{header:?} {text}");
    }
    let nested = r#"{"error":{"message":"slow"},"status_code":429,"headers":{"retry-after":"5"}}"#;
    assert_eq!(Case::default().answer_in_stream(nested).error.retry_after, Some(5));
}

#[test]
fn messages_are_found_in_every_shape_and_secrets_in_none() {
    let cases = [
        (r#"{"error":{"message":"sk-1234567890 in SECRET-1234"}}"#, "*** in ***"),
        (r#"{"error":"text"}"#, "text"),
        (r#"{"error":"Bad Request","message":"text"}"#, "text"),
        (r#"{"error":"Bad Request","detail":"text"}"#, "text"),
        (r#"{"detail":"text"}"#, "text"),
        (r#"{"detail":[{"msg":"text","loc":["body","input",0]},"more"]}"#, "body.input.0: text; more"),
        (r#"{"detail":{"message":"text"}}"#, "text"),
        (r#"{"detail":{"code":"some_code"}}"#, "some_code"),
        (r#"{"message":"text"}"#, "text"),
        (r#"{"object":"error","message":"text","type":"BadRequestError","param":null,"code":400}"#, "text"),
        (r#"[{"error":{"message":"text"}}]"#, "text"),
        (r#"{"error":{"message":{"message":"text"}}}"#, "text"),
        (r#"{"error":{"message":7}}"#, "upstream returned HTTP 400 with an empty body"),
        ("<html><style>x{}</style><h1>Bad\n request</h1><script>1<2</script></html>", "Bad request"),
        ("plain words", "plain words"),
        ("", "upstream returned HTTP 400 with an empty body"),
        ("{}", "upstream returned HTTP 400 with an empty body"),
        ("\"text\"", "text"),
    ];
    for (body, message) in cases {
        assert_eq!(Case::default().answer(400, body).error.message, message, "{body}");
    }
    let long = Case::default().answer(400, &"ä".repeat(600)).error.message;
    assert_eq!(long.chars().count(), 513);
}

#[test]
fn a_class_has_the_upstreams_code_or_ours() {
    let cases = [
        (400, r#"{"error":{"code":"weird_code","message":"no"}}"#, "weird_code"),
        (400, r#"{"error":{"code":400,"type":"BadRequestError","message":"no"}}"#, "BadRequestError"),
        (400, r#"{"detail":"no"}"#, "invalid_request"),
        (502, "", "server_error"),
        (400, "maximum context length is 5", "context_overflow"),
    ];
    for (status, body, code) in cases {
        let class = Case::default().answer(status, body).class;
        assert_eq!((class.code.as_str(), class.quota), (code, None), "{body}");
    }
    let quota = Case::default().answer(429, r#"{"error":{"code":"insufficient_quota"}}"#).class;
    assert_eq!(quota.quota, Some(Quota { resets_at: None }));
}

#[test]
fn half_a_secret_does_not_survive_the_cut() {
    let text = format!("{} SECRET-1234 {}", "x".repeat(504), "y".repeat(50));
    assert!(!Case::default().answer(400, &text).error.message.contains("SECR"));
}

#[test]
fn a_quoted_request_does_not_look_like_an_overflow() {
    let quoted = format!("1 validation error: {{'input': '{} the context window'}}", "word ".repeat(250));
    let body = serde_json::json!({"error": {"message": quoted, "param": "body.input"}}).to_string();
    assert!(Case::custom().answer(400, &body).error.message.starts_with("1 validation error"));
}

#[test]
fn our_own_failures_are_final() {
    let bug = internal_error();
    assert_eq!((bug.status, bug.kind, bug.should_retry), (500, ErrorKind::Api, Some(false)));
    let large = body_too_large(32 << 20);
    assert_eq!((large.status, large.kind, large.should_retry), (413, ErrorKind::RequestTooLarge, Some(false)));
    assert_eq!(large.message, "the request body is larger than 32 MiB");
}

#[test]
fn repairs_are_remembered_where_they_belong() {
    let mut omissions = Omissions::default();
    let repairs = [
        Repair::WithoutParameters(vec![Parameter::Store]),
        Repair::WithoutEffort(Effort::XHigh),
        Repair::WithoutSummary,
        Repair::WithoutImages,
        Repair::WithoutReasoningItems,
        Repair::OnLiteLane,
    ];
    repairs.iter().for_each(|repair| repair.apply(&mut omissions));
    let wanted = Omissions {
        parameters: BTreeSet::from([Parameter::Store]),
        efforts: BTreeSet::from([Effort::XHigh]),
        summary: true,
        images: true,
        reasoning_items: true,
        full_lane: true,
    };
    assert_eq!(omissions, wanted);
}

proptest::proptest! {
    #[test]
    fn any_bytes_get_a_verdict(status in proptest::option::of(0u16..1000), body: Vec<u8>, text in ".{0,200}") {
        for body in [&body[..], text.as_bytes()] {
            let reply = UpstreamReply { status, ..UpstreamReply::in_stream(body) };
            Case::custom().with(|context| judge(&reply, context));
        }
    }
}

#[test]
fn a_model_that_the_catalogue_calls_lite_is_asked_once_more_on_that_lane() {
    let case = |model: &'static str| Case {
        model,
        known_models: &["gpt-5.5", "gpt-6-sol"],
        omit: Omissions::default(),
        ..Case::of(ProfileKind::Codex)
    };
    let refused = [
        (404, r#"{"detail": "Model not found gpt-6-sol"}"#.to_owned()),
        (400, r#"{"error": {"message": "no", "param": "tools", "code": "unsupported_value"}}"#.to_owned()),
        (400, r#"{"error": {"message": "no", "param": "reasoning.effort", "code": "unsupported_value"}}"#.to_owned()),
    ];
    for (status, body) in refused {
        assert_eq!(case("gpt-6-sol").judge(status, &body), Verdict::Retry(Repair::OnLiteLane), "{body}");
        let on_it = Omissions { full_lane: true, ..Omissions::default() };
        assert_ne!(Case { omit: on_it, ..case("gpt-6-sol") }.judge(status, &body), Verdict::Retry(Repair::OnLiteLane));
        assert_ne!(case("gpt-5.5").judge(status, &body), Verdict::Retry(Repair::OnLiteLane), "{body}");
        assert_ne!(case("gpt-6-other").judge(status, &body), Verdict::Retry(Repair::OnLiteLane), "{body}");
    }
    let plan = r#"{"detail": "The 'gpt-6-sol' model is not supported when using Codex with a ChatGPT account."}"#;
    assert_eq!(case("gpt-6-sol").answer(400, plan).error.kind, ErrorKind::NotFound);
}
