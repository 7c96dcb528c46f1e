//! The fake upstream itself: it must be as strict as the real service, or the other tests prove nothing.

use serde_json::{Value, json};

use crate::support::http_client::{BodyEnd, Connection};
use crate::support::upstream_process::Upstream;

fn message(role: &str, part: Value) -> Value {
    json!({"type": "message", "role": role, "content": [part]})
}

fn user(text: &str) -> Value {
    message("user", json!({"type": "input_text", "text": text}))
}

/// A request that the OpenAI profile takes, with every kind of thing in it.
fn good_request() -> Value {
    json!({
        "model": "gpt-5.5", "store": false, "stream": true, "instructions": "Be brief.",
        "input": [
            user("go"),
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAAB"},
            message("assistant", json!({"type": "output_text", "text": "Looking."})),
            {"type": "function_call", "call_id": "call_1", "name": "Bash", "arguments": "{\"command\":\"ls\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": ""},
            message("developer", json!({"type": "input_text", "text": "Mind the time."})),
        ],
        "tools": [
            {"type": "function", "name": "Bash", "description": "d", "strict": false,
                "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}},
            {"type": "web_search", "filters": {"allowed_domains": ["example.com"]}},
        ],
        "tool_choice": "auto", "parallel_tool_calls": true, "max_output_tokens": 32000,
        "reasoning": {"effort": "xhigh", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k", "stream_options": {"include_obfuscation": false},
        "text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": {"type": "object",
            "properties": {"title": {"type": "string"}}, "required": ["title"], "additionalProperties": false}}},
    })
}

fn post(upstream: &Upstream, path: &str, body: &Value) -> Connection {
    let mut connection = Connection::open(&upstream.address);
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    connection.send("POST", path, &headers, body.to_string().as_bytes());
    connection
}

#[test]
fn a_good_request_is_taken_and_each_fault_is_refused_by_name() {
    let upstream = Upstream::start(&["--profile", "openai"]);
    assert_eq!(post(&upstream, "/v1/responses", &good_request()).into_event_stream().head.status, 200);
    assert!(upstream.take_violations().is_empty());
    for (pointer, value, named) in [
        ("/frobnicate", json!(1), "frobnicate"),
        ("/store", json!(true), "store"),
        ("/stream", json!(false), "stream"),
        ("/input", json!([]), "input"),
        ("/input/0/id", json!("msg_1"), "input[0].id"),
        ("/input/0/content/0/type", json!("output_text"), "input[0].content[0].type"),
        ("/input/2/content/0/type", json!("input_text"), "input[2].content[0].type"),
        ("/input/0/role", json!("tool"), "input[0].role"),
        ("/input/3/call_id", json!("call:1"), "input[3].call_id"),
        ("/input/3/call_id", json!("x".repeat(65)), "input[3].call_id"),
        ("/input/3/call_id", json!("call_2"), "No tool call found for function call output"),
        ("/input/4/call_id", json!("call_2"), "No tool output found for function call call_1"),
        ("/input/3/arguments", json!(""), "input[3].arguments"),
        ("/input/4/is_error", json!(true), "input[4].is_error"),
        ("/input/2", json!({"type": "reasoning", "summary": [], "encrypted_content": "g"}), ""),
        ("/tools/0/strict", Value::Null, "tools[0].strict"),
        ("/tools/0/cache_control", json!({}), "tools[0].cache_control"),
        ("/tools/0/parameters/anyOf", json!([]), "tools[0].parameters.anyOf"),
        ("/tools/0/name", json!("mcp.server/tool"), "tools[0].name"),
        ("/tools/1/filters/allowed_domains/0", json!("https://example.com"), "allowed_domains"),
        ("/tool_choice", json!("any"), "tool_choice"),
        ("/tool_choice", json!({"type": "function", "name": "Nobody"}), "tool_choice"),
        ("/reasoning/effort", json!("max"), "reasoning.effort"),
        ("/include/0", json!("everything"), "include"),
        ("/temperature", json!(1.0), "temperature"),
        ("/max_output_tokens", json!(1), "max_output_tokens"),
        ("/prompt_cache_key", json!("k".repeat(65)), "prompt_cache_key"),
        ("/text/format/schema/additionalProperties", json!(true), "text.format.schema"),
        ("/previous_response_id", json!("resp_1"), "previous_response_id"),
    ] {
        let mut body = good_request();
        set(&mut body, pointer, value);
        let response = post(&upstream, "/v1/responses", &body).read_response();
        let violations = upstream.take_violations().join("\n");
        if named.is_empty() {
            assert!(violations.is_empty(), "{pointer}: {violations}");
        } else {
            assert_eq!(response.status, 400, "{pointer}");
            assert!(violations.contains(named), "{pointer}: {violations}");
        }
    }
}

#[test]
fn each_profile_has_its_own_allow_list() {
    let codex = Upstream::start(&["--profile", "codex", "--key", "token", "--account", "account"]);
    let body = json!({"model": "gpt-5.5", "instructions": "", "store": false, "stream": true, "input": [user("hi")],
        "max_output_tokens": 100});
    let mut connection = Connection::open(&codex.address);
    let headers = |account: &str| {
        [("authorization", "Bearer token"), ("chatgpt-account-id", account), ("content-type", "application/json")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let path = "/backend-api/codex/responses";
    connection.send("POST", path, &headers("account"), body.to_string().as_bytes());
    assert_eq!(connection.read_response().status, 400);
    assert_eq!(codex.take_violations(), ["max_output_tokens: Unknown parameter"]);
    connection.send("POST", path, &headers("other"), body.to_string().as_bytes());
    assert_eq!(connection.read_response().status, 403);
    connection.send("POST", path, &[], body.to_string().as_bytes());
    assert_eq!(connection.read_response().status, 401);

    let custom = Upstream::start(&["--profile", "custom"]);
    let body = json!({"model": "m", "stream": true, "input": [user("hi")], "safety_identifier": "k",
        "reasoning": {"effort": "xhigh"}});
    assert_eq!(post(&custom, "/v1/responses", &body).read_response().status, 400);
    assert_eq!(custom.take_violations().len(), 2);
    assert_eq!(post(&custom, "/v1/responses/input_tokens", &body).read_response().status, 404);
    assert_eq!(custom.take_violations().len(), 1);
}

#[test]
fn the_lite_lane_has_rules_of_its_own() {
    let codex = Upstream::start(&["--profile", "codex"]);
    let tool = json!({"type": "function", "name": "Bash", "strict": false,
        "parameters": {"type": "object", "properties": {}}});
    let good = json!({"model": "gpt-6-sol", "store": false, "stream": true, "tool_choice": "auto",
        "input": [{"type": "additional_tools", "role": "developer", "tools": [tool]}, user("hi")],
        "parallel_tool_calls": false, "reasoning": {"effort": "low", "context": "all_turns"}});
    let mut parallel = good.clone();
    parallel["parallel_tool_calls"] = json!(true);
    let mut classic = good.clone();
    classic["input"] = json!([user("hi")]);
    classic["tools"] = json!([tool]);
    for (body, violations) in [(&good, 0), (&parallel, 1), (&classic, 1)] {
        let mut connection = Connection::open(&codex.address);
        let headers = [("x-openai-internal-codex-responses-lite", "true"), ("content-type", "application/json")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        connection.send("POST", "/backend-api/codex/responses", &headers, body.to_string().as_bytes());
        connection.read_response();
        assert_eq!(codex.take_violations().len(), violations, "{body}");
    }
    // Without the header the item is nothing that the service knows.
    assert_eq!(post(&codex, "/backend-api/codex/responses", &good).read_response().status, 400);
    assert!(!codex.take_violations().is_empty());
}

#[test]
fn a_script_decides_what_is_sent_and_when() {
    let upstream = Upstream::start(&["--profile", "openai"]);
    let body = json!({"model": "gpt-5.5", "store": false, "stream": true, "input": [user("hi")]});
    upstream.script(&json!([
        {"on": "plain", "reply": {"stream": [{"text": ["one ", {"hold": "more"}, "two"]}]}},
        {"on": "plain", "reply": {"stream": [{"text": "cut"}, {"cut": "fin"}]}},
        {"on": "plain", "times": 0, "reply": {"status": 429, "headers": {"retry-after": "7"}, "json": {"error": {}}}},
    ]));
    let mut stream = post(&upstream, "/v1/responses", &body).into_event_stream();
    stream.read_to(|event| event.data["delta"] == "one ");
    upstream.wait("holding=more&connections=1");
    upstream.release("more");
    let events = stream.read_to_end();
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("response.completed"));
    let mut connection = stream.into_connection();
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    connection.send("POST", "/v1/responses", &headers, body.to_string().as_bytes());
    let mut stream = connection.into_event_stream();
    stream.read_to_end();
    assert_eq!(stream.end(), BodyEnd::Cut);
    let response = post(&upstream, "/v1/responses", &body).read_response();
    assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
}

#[test]
fn a_client_that_hangs_up_is_noticed_at_a_hold_point() {
    let upstream = Upstream::start(&["--profile", "openai"]);
    upstream.script(&json!([{"on": "plain", "reply": {"stream": [{"hold": "never"}]}}]));
    let body = json!({"model": "gpt-5.5", "store": false, "stream": true, "input": [user("hi")]});
    let connection = post(&upstream, "/v1/responses", &body);
    upstream.wait("holding=never");
    drop(connection);
    upstream.wait("aborted=1&connections=0");
}

/// Sets or adds the value at a JSON pointer; null takes it away.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = body.pointer_mut(parent).expect("the parent is there");
    match parent {
        Value::Object(fields) if value.is_null() => drop(fields.remove(key)),
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        _ => panic!("{pointer} leads nowhere"),
    }
}
