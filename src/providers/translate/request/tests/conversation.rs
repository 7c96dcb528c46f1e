//! Placement, blocks and pairing: WIRE.md §1.1, §1.2 and the errors of §0.

use serde_json::{Value, json};

use super::{KINDS, Upstream, user_parts};
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::profile::{MidSystem, ProfileKind};
use crate::providers::translate::request::endless_loop;

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn result(id: &str, content: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": content})
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn assistant(content: Value) -> Value {
    json!({"role": "assistant", "content": content})
}

/// One word per item: role and texts of messages, ids of calls and outputs.
fn outline(input: &Value) -> Vec<String> {
    let texts = |parts: &Value| {
        let parts = parts.as_array().cloned().unwrap_or_default();
        parts.iter().map(|part| part["text"].as_str().unwrap_or("*").to_owned()).collect::<Vec<_>>().join("|")
    };
    let items = input.as_array().expect("an array").iter();
    items
        .map(|item| match item["type"].as_str().unwrap() {
            "message" => format!("{}:{}", item["role"].as_str().unwrap(), texts(&item["content"])),
            "function_call" => format!("call:{}", item["call_id"].as_str().unwrap()),
            "function_call_output" => format!("out:{}", item["call_id"].as_str().unwrap()),
            other => other.to_owned(),
        })
        .collect()
}

#[test]
fn q0_2_unknown_fields_are_ignored_and_unknown_roles_refused() {
    let body = Upstream::openai().body_with(json!({"thread": {"a": 1}, "context_management": {}, "betas": ["x"]}));
    assert!(body.get("thread").is_none());
    let error = Upstream::openai()
        .error(json!({"model": "m", "messages": [user(json!("hi")), {"role": "tool", "content": "x"}]}));
    assert_eq!((error.status, &*error.message), (400, "messages.1.role: Unexpected role \"tool\""));
}

#[test]
fn q0_3_what_cannot_be_read_is_a_400_in_anthropics_words() {
    let cases: [(&str, &str); 18] = [
        ("{", "The request body is not valid JSON: EOF while parsing an object at line 1 column 1"),
        ("", "The request body is not valid JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "The request body should be a JSON object"),
        ("3", "The request body should be a JSON object"),
        (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":1}"#, "model: Field required"),
        (
            r#"{"model":4,"messages":[{"role":"user","content":"x"}],"max_tokens":1}"#,
            "model: Input should be a valid string",
        ),
        (r#"{"model":"m","max_tokens":1}"#, "messages: Field required"),
        (r#"{"model":"m","messages":null,"max_tokens":1}"#, "messages: Field required"),
        (r#"{"model":"m","messages":[],"max_tokens":1}"#, "messages: at least one message is required"),
        (r#"{"model":"m","messages":{},"max_tokens":1}"#, "messages: Input should be a valid list"),
        (r#"{"model":"m","messages":["x"],"max_tokens":1}"#, "messages.0: Input should be an object"),
        (r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#, "max_tokens: Field required"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":"many"}"#,
            "max_tokens: Input should be a valid integer",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":7}],"max_tokens":1}"#,
            "messages.0.content: Input should be a valid string or a list of content blocks",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"},7]}],"max_tokens":1}"#,
            "messages.0.content.1: Input should be an object",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"name":"f","input_schema":3}],"max_tokens":1}"#,
            "tools.0.input_schema: Input should be an object",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":{"a":1},"max_tokens":1}"#,
            "tools: Input should be a valid list",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"system":5,"max_tokens":1}"#,
            "system: Input should be a valid string or a list of content blocks",
        ),
    ];
    for (body, message) in cases {
        let error = MessagesRequest::parse(body.as_bytes()).expect_err(body);
        assert_eq!((error.status, error.kind.as_str(), &*error.message), (400, "invalid_request_error", message));
    }
    assert!(MessagesRequest::parse(b"{\"model\":\"\xff\"}").is_err());
}

#[test]
fn q0_3_blocks_without_what_they_need_are_refused_with_their_path() {
    let cases = [
        (assistant(json!([{"type": "tool_use", "name": "f", "input": {}}])), "messages.0.content.0.id: Field required"),
        (assistant(json!([{"type": "tool_use", "id": "a", "input": {}}])), "messages.0.content.0.name: Field required"),
        (user(json!([{"type": "tool_result", "content": "x"}])), "messages.0.content.0.tool_use_id: Field required"),
        (user(json!([{"text": "x"}])), "messages.0.content.0.type: Field required"),
        (json!({"role": "user"}), "messages.0.content: Field required"),
    ];
    for (message, expected) in cases {
        let error = Upstream::openai().error(json!({"model": "m", "messages": [message]}));
        assert_eq!((error.status, &*error.message), (400, expected));
    }
}

#[test]
fn odd_but_legal_json_is_read_leniently() {
    let request = r#"{"model":"a","model":"b","max_tokens":1e3,"temperature":"hot","thinking":true,"tool_choice":[],
        "output_config":7,"metadata":"x","stop_sequences":"x","stream":"yes","speed":{},"service_tier":4,
        "\ud800":1,"messages":[{"role":"user","content":"\ud83d lone","x":1},
        {"role":"assistant","content":[{"type":"text","text":"\udc00\n"},{"type":"\ud800"}]},
        {"role":"us\u0065r","content":[{"type":"te\u0078t","text":"A\ud83d"}]}]}"#;
    let parsed = MessagesRequest::parse(request.as_bytes()).unwrap();
    assert_eq!((&*parsed.model(), parsed.max_tokens(), parsed.stream()), ("b", Some(1000), false));
    for kind in KINDS {
        assert!(Upstream::of(kind, "gpt-5.5").try_bytes(request.as_bytes()).is_ok());
    }
}

#[test]
fn a_text_that_was_cut_inside_a_character_is_mended() {
    let request = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a\ud83d"}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{"a":"\ude00"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"\ud83d\ude00"}]}]}"#;
    let translated = Upstream::openai().try_bytes(request.as_bytes()).unwrap();
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(body["input"][0]["content"][0]["text"], "a\u{fffd}");
    let arguments: Value = serde_json::from_str(body["input"][1]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"a": "\u{fffd}"}));
    assert_eq!(body["input"][2]["output"], "😀");
}

#[test]
fn q_s1_system_blocks_are_joined_with_an_empty_line() {
    let body = Upstream::openai().body_with(json!({"system": [text("a\"\n"), text(""), text("b")]}));
    assert_eq!(body["instructions"], "a\"\n\n\nb");
    assert_eq!(Upstream::custom().body_with(json!({"system": "as is"}))["instructions"], "as is");
}

#[test]
fn q_s2_the_billing_header_is_dropped_wherever_it_stands() {
    let header = "\n x-anthropic-billing-header: cc_version=1; cch=2;";
    let body =
        Upstream::openai().body_with(json!({"system": [text(header), text("You are a Claude agent."), text(header)]}));
    assert_eq!(body["instructions"], "You are a Claude agent.", "and Q-S3: the identity stays");
    assert!(Upstream::openai().body_with(json!({"system": header})).get("instructions").is_none());
}

#[test]
fn q_s5_without_a_system_prompt_only_codex_gets_the_key() {
    for (upstream, expected) in [(Upstream::openai(), None), (Upstream::codex(), Some("")), (Upstream::custom(), None)]
    {
        let body = upstream.body_with(json!({"system": []}));
        assert_eq!(body.get("instructions").map(|text| text.as_str().unwrap()), expected);
    }
}

#[test]
fn q_m1_order_inside_a_message_is_kept() {
    let input = Upstream::openai().input(json!([
        user(json!("go")),
        assistant(json!([text("a"), text("b"), call("1"), text("c"), call("2")])),
        user(json!([text("d"), result("1", "x"), text("e"), result("2", "y"), text("f"), text("g")])),
    ]));
    let expected = [
        "user:go",
        "assistant:a|b",
        "call:1",
        "assistant:c",
        "call:2",
        "user:d",
        "out:1",
        "user:e",
        "out:2",
        "user:f|g",
    ];
    assert_eq!(outline(&input), expected);
}

#[test]
fn q_m2_a_custom_upstream_gets_one_text_per_assistant_message() {
    let messages = json!([
        user(json!([text("a"), text("b")])),
        assistant(json!([text("c"), text("d"), call("1"), text("e"), text("f")])),
        user(json!([result("1", "x")])),
    ]);
    let expected = ["user:a|b", "assistant:c\n\nd", "call:1", "assistant:e\n\nf", "out:1"];
    assert_eq!(outline(&Upstream::custom().input(messages)), expected);
}

#[test]
fn q_m3_empty_messages_and_texts_are_left_out() {
    let input = Upstream::openai().input(json!([
        user(json!([text(""), text(" \n")])),
        assistant(json!([text(" \n"), text("")])),
        assistant(json!("\n")),
        user(json!("")),
        user(json!([])),
    ]));
    assert_eq!(outline(&input), ["user: \n"]);
    let error = Upstream::openai().error(json!({"model": "m", "messages": [user(json!("")), assistant(json!(" "))]}));
    assert_eq!((error.status, &*error.message), (400, "messages: at least one message with content is required"));
}

#[test]
fn q_m5_a_system_message_stays_in_its_place_with_the_profiles_role() {
    let messages = json!([
        user(json!("a")),
        {"role": "system", "content": "rule"},
        assistant(json!("b")),
        {"role": "system", "content": [text("one"), {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": [{"type": "tool_removal", "tool": {"type": "tool_reference", "name": "x"}}]},
    ]);
    let with = |mid_system| {
        let mut upstream = Upstream::custom();
        upstream.profile.mid_system = mid_system;
        outline(&upstream.input(messages.clone()))
    };
    assert_eq!(with(MidSystem::Developer), ["user:a", "developer:rule", "assistant:b", "developer:one|two"]);
    assert_eq!(with(MidSystem::System), ["user:a", "system:rule", "assistant:b", "system:one|two"]);
    let reminder = |text: &str| format!("user:<system-reminder>\n{text}\n</system-reminder>");
    let reminders = with(MidSystem::Reminder);
    assert_eq!(reminders, ["user:a".to_owned(), reminder("rule"), "assistant:b".to_owned(), reminder("one\n\ntwo")]);
    assert_eq!(outline(&Upstream::codex().input(messages.clone()))[1], "developer:rule");
}

#[test]
fn q_m6_messages_of_one_role_are_not_merged_and_q_m7_a_prefill_is_forwarded() {
    let input =
        Upstream::openai().input(json!([user(json!("a")), user(json!("b")), assistant(json!("The answer is"))]));
    assert_eq!(outline(&input), ["user:a", "user:b", "assistant:The answer is"]);
}

#[test]
fn q_m8_phase_follows_from_the_place_where_the_model_knows_it() {
    let messages = json!([
        user(json!("go")),
        assistant(json!([text("let me look"), call("1")])),
        user(json!([result("1", "x")])),
        assistant(json!([text("done")])),
        assistant(json!("done")),
    ]);
    let phases = |kind, model: &'static str| {
        let input = Upstream::of(kind, model).input(messages.clone());
        let phases = input.as_array().unwrap().iter().filter(|item| item["role"] == "assistant");
        phases.map(|item| item["phase"].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>()
    };
    for model in ["gpt-5.3-codex", "gpt-5.4", "gpt-5.5", "gpt-5.6-sol"] {
        assert_eq!(phases(ProfileKind::OpenAi, model), ["commentary", "final_answer", "final_answer"], "{model}");
    }
    for (kind, model) in
        [(ProfileKind::OpenAi, "gpt-5.2"), (ProfileKind::OpenAi, "o3"), (ProfileKind::Custom, "gpt-5.5")]
    {
        assert_eq!(phases(kind, model), ["-", "-", "-"], "{model}");
    }
}

#[test]
fn q_m10_to_q_m19_content_blocks_become_parts() {
    let png = json!({"type": "base64", "media_type": "image/png", "data": "iVBOR\nw0KGgo="});
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    let untyped = |data: &str| json!({"type": "image", "source": {"type": "base64", "data": data}});
    let image = |url: &str| json!({"type": "input_image", "image_url": url, "detail": "auto"});
    let file = |name: &str| json!({"type": "input_file", "filename": name, "file_data": "data:application/pdf;base64,JVBERi0="});
    let words = |text: &str| json!({"type": "input_text", "text": text});
    let cases = [
        ("q_m10", json!({"type": "text", "text": "a", "citations": []}), json!([words("a")])),
        ("q_m12", json!({"type": "image", "source": png}), json!([image("data:image/png;base64,iVBORw0KGgo=")])),
        ("q_m12 jpeg", untyped("/9j/4AAQ"), json!([image("data:image/jpeg;base64,/9j/4AAQ")])),
        ("q_m12 gif", untyped("R0lGODlh"), json!([image("data:image/gif;base64,R0lGODlh")])),
        ("q_m12 webp", untyped("UklGRg=="), json!([image("data:image/webp;base64,UklGRg==")])),
        (
            "q_m13",
            json!({"type": "image", "source": {"type": "url", "url": "https://a/b"}}),
            json!([image("https://a/b")]),
        ),
        ("q_m15", json!({"type": "document", "source": pdf}), json!([file("document.pdf")])),
        (
            "q_m15 title",
            json!({"type": "document", "source": pdf, "title": "Report \"1\""}),
            json!([file("Report \"1\".pdf")]),
        ),
        ("q_m15 name", json!({"type": "document", "source": pdf, "title": "a.PDF"}), json!([file("a.PDF")])),
        (
            "q_m16",
            json!({"type": "document", "title": "T", "context": "C", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}),
            json!([words("T\nC\nD")]),
        ),
        (
            "q_m17",
            json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": png}]}}),
            json!([words("a"), image("data:image/png;base64,iVBORw0KGgo=")]),
        ),
        ("q_m17 text", json!({"type": "document", "source": {"type": "content", "content": "a"}}), json!([words("a")])),
        (
            "q_m18",
            json!({"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}),
            json!([{"type": "input_file", "file_url": "https://a/b.pdf"}]),
        ),
        (
            "q_m19",
            json!({"type": "search_result", "source": "https://s", "title": "T", "content": [text("one"), text("two")]}),
            json!([words("<search_result source=\"https://s\" title=\"T\">\none\ntwo\n</search_result>")]),
        ),
    ];
    for (rule, block, expected) in cases {
        assert_eq!(user_parts(&Upstream::openai(), json!([block])), expected, "{rule}");
    }
    let url = json!([{"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}]);
    assert_eq!(user_parts(&Upstream::codex(), url), json!([words("[document: https://a/b.pdf]")]), "q_m18 codex");
}

#[test]
fn q_m14_file_ids_are_refused_with_the_blocks_path() {
    let file = json!({"type": "file", "file_id": "file_1"});
    let image = json!({"type": "image", "source": file});
    let cases = [
        (
            json!([text("a"), image]),
            "messages.0.content.1.image.source: file sources are not supported by this backend",
        ),
        (
            json!([{"type": "document", "source": file}]),
            "messages.0.content.0.document.source: file sources are not supported by this backend",
        ),
        (
            json!([{"type": "tool_result", "tool_use_id": "a", "content": [image]}]),
            "messages.0.content.0.tool_result.content.0.image.source: file sources are not supported by this backend",
        ),
    ];
    for (content, message) in cases {
        let error = Upstream::openai().error(json!({"model": "m", "messages": [user(content)]}));
        assert_eq!((error.status, &*error.message), (400, message));
    }
}

#[test]
fn q_m20_unknown_blocks_of_a_user_become_their_json_and_of_an_assistant_nothing() {
    let long = "A".repeat(2000);
    let block = json!({"type": "hologram", "shape": {"a": [1, 2]}, "blob": long, "note": "x \" y".repeat(300)});
    let upstream = Upstream::openai();
    let translated = upstream
        .translated(&json!({"model": "m", "messages": [user(json!([block])), assistant(json!([block, text("a")]))]}));
    assert_eq!(translated.dropped.iter().collect::<Vec<_>>(), ["block.hologram"]);
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    let sent: Value = serde_json::from_str(body["input"][0]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&sent["shape"], &sent["note"]), (&block["shape"], &block["note"]));
    assert_eq!(sent["blob"], "[2000 bytes of base64 left out]");
    assert_eq!(outline(&body["input"])[1], "assistant:a");
}

#[test]
fn q_m20_the_json_of_unknown_blocks_is_compact() {
    let request =
        r#"{"model":"m","messages":[{"role":"user","content":[{ "type" : "x" , "a b" : [ 1 , "c  \" d" ] }]}]}"#;
    let translated = Upstream::openai().try_bytes(request.as_bytes()).unwrap();
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(body["input"][0]["content"][0]["text"], r#"{"type":"x","a b":[1,"c  \" d"]}"#);
}

fn arguments_of(input: Value) -> String {
    let block = json!({"type": "tool_use", "id": "1", "name": "f", "input": input});
    let input = Upstream::openai().input(json!([assistant(json!([block])), user(json!([result("1", "x")]))]));
    input[0]["arguments"].as_str().unwrap().to_owned()
}

#[test]
fn q_m21_arguments_are_the_json_text_of_an_object() {
    let cases = [
        (json!({"a": "b\"\n\\ é 😀"}), r#"{"a":"b\"\n\\ é 😀"}"#),
        (Value::Null, "{}"),
        (json!("{\"a\":1}"), r#"{"a":1}"#),
        (json!("no object"), "{}"),
        (json!([1]), "{}"),
        (json!(7), "{}"),
    ];
    for (input, expected) in cases {
        assert_eq!(arguments_of(input), expected);
    }
    let missing = json!({"type": "tool_use", "id": "1", "name": "f"});
    assert_eq!(
        Upstream::openai().input(json!([assistant(json!([missing])), user(json!([result("1", "x")]))]))[0]["arguments"],
        "{}"
    );
}

#[test]
fn q_m22_a_mistake_of_the_models_own_stays_visible() {
    let sentinel = |raw: &str| json!({"__unparsedToolInput": {"raw": raw, "len": 20}});
    assert_eq!(arguments_of(sentinel("{\"a\": 1}")), "{\"a\": 1}");
    let broken = arguments_of(sentinel("{\"command\": \"echo hi"));
    assert_eq!(serde_json::from_str::<Value>(&broken).unwrap(), sentinel("{\"command\": \"echo hi"));
}

#[test]
fn q_m23_to_q_m27_tool_results_become_outputs() {
    let png = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}});
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "auto"});
    let words = |text: &str| json!({"type": "input_text", "text": text});
    let cases = [
        ("q_m23", json!("a\nb"), json!("a\nb")),
        ("q_m24", json!([text("a"), text(""), text("b")]), json!("a\nb")),
        ("q_m25", json!([text("a"), png, text("b")]), json!([words("a"), image, words("b")])),
        (
            "q_m25 search",
            json!([{"type": "search_result", "source": "s", "title": "t", "content": []}]),
            json!([words("<search_result source=\"s\" title=\"t\">\n</search_result>")]),
        ),
        ("q_m26", Value::Null, json!("")),
        ("q_m26 list", json!([]), json!("")),
        ("q_m26 empty", json!([text("")]), json!("")),
        ("q_m28", json!([{"type": "tool_reference", "tool_name": "Web.Fetch"}]), json!("Tool Web_Fetch_")),
    ];
    for upstream in [Upstream::openai(), Upstream::codex()] {
        for (rule, content, expected) in cases.clone() {
            let output = upstream.output(content);
            match rule {
                "q_m28" => assert!(output.as_str().unwrap().starts_with("Tool Web_Fetch_"), "{output}"),
                _ => assert_eq!(output, expected, "{rule}"),
            }
        }
    }
    let mut particular = Upstream::custom();
    particular.profile.empty_output_ok = false;
    assert_eq!(particular.output(json!([])), "(no output)", "q_m26");
}

#[test]
fn q_m25_a_pdf_may_stand_inside_a_result() {
    let pdf =
        json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}});
    let output = Upstream::openai().output(json!([text("PDF file read"), pdf]));
    assert_eq!((&output[0]["type"], &output[1]["type"]), (&json!("input_text"), &json!("input_file")));
}

#[test]
fn q_m25_without_array_outputs_images_follow_in_one_user_message() {
    let png = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}});
    let with_image = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": [text("a"), png]});
    let messages = json!([
        assistant(json!([call("1"), call("2")])),
        user(json!([with_image("1"), with_image("2"), text("and now?")])),
    ]);
    let translated = Upstream::custom().translated(&json!({"model": "m", "messages": messages}));
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(outline(&body["input"]), ["call:1", "call:2", "out:1", "out:2", "user:*|*", "user:and now?"]);
    assert_eq!(body["input"][2]["output"], "a\n[image attached below]");
    let places: Vec<_> = translated.images.iter().map(|place| (place.item, place.part, place.path())).collect();
    let path = |block| format!("messages.1.content.{block}.tool_result.content.1.image");
    assert_eq!(places, [(4, 0, path(0)), (4, 1, path(1))]);
}

#[test]
fn q_m27_errors_say_so_in_words() {
    let failed = |content: Value| {
        let block = json!({"type": "tool_result", "tool_use_id": "call_1", "is_error": true, "content": content});
        Upstream::openai().after_call(json!([block]))[0]["output"].take()
    };
    assert_eq!(failed(json!("no such file")), "Error: no such file");
    assert_eq!(failed(json!("<tool_use_error>x</tool_use_error>")), "<tool_use_error>x</tool_use_error>");
    assert_eq!(failed(json!("Error: x")), "Error: x");
    assert_eq!(failed(json!([text("x"), text("y")])), "Error: x\ny");
    let png = json!({"type": "image", "source": {"type": "url", "url": "https://a"}});
    assert_eq!(failed(json!([text("x"), png]))[0]["text"], "Error: x");
    assert_eq!(failed(json!([png]))[0]["text"], "Error: ");
}

#[test]
fn q_m29_a_users_thinking_is_dropped() {
    let thinking = json!({"type": "thinking", "thinking": "ignore the rules", "signature": "cgw1.x.y"});
    assert_eq!(outline(&Upstream::openai().input(json!([user(json!([thinking, text("a")]))]))), ["user:a"]);
}

#[test]
fn q_m30_a_past_web_search_becomes_words_in_place() {
    let found = |list: Value| {
        let blocks = json!([
            text("before"),
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "cats"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": list},
            text("after"),
        ]);
        outline(&Upstream::openai().input(json!([user(json!("go")), assistant(blocks)])))[1].clone()
    };
    let page = |title: &str, url: &str| json!({"type": "web_search_result", "title": title, "url": url});
    assert_eq!(
        found(json!([page("A", "https://a"), page("B", "https://b")])),
        "assistant:before|[web search: \"cats\" -> A (https://a); B (https://b)]|after"
    );
    assert_eq!(found(json!([])), "assistant:before|after");
    assert_eq!(found(json!({"type": "web_search_tool_result_error"})), "assistant:before|after");
}

#[test]
fn q_m5_whether_a_system_message_went_up_as_one_is_told() {
    let sent = |upstream: Upstream, role: &str| {
        let messages = json!([{"role": "user", "content": "go"}, {"role": role, "content": "mind the gap"}]);
        upstream.translated(&json!({"model": "m", "messages": messages})).system_in_middle
    };
    assert!(sent(Upstream::openai(), "system"));
    assert!(!sent(Upstream::openai(), "user"));
    assert!(!sent(Upstream::custom(), "system"), "there it is a reminder");
    let mut lite = Upstream::codex();
    lite.omit.full_lane = true;
    assert!(!sent(lite, "user"), "the prompt of the lite lane is no message of the conversation");
}

#[test]
fn q_m31_other_blocks_of_anthropics_own_tools_never_leave_half_a_pair() {
    let mcp_use = json!({"type": "mcp_tool_use", "id": "m1", "name": "ask", "server_name": "s", "input": {"a": 1}});
    let mcp_result =
        json!({"type": "mcp_tool_result", "tool_use_id": "m1", "is_error": false, "content": [text("42")]});
    let of =
        |blocks: Value| outline(&Upstream::openai().input(json!([user(json!("go")), assistant(blocks)])))[1..].to_vec();
    assert_eq!(of(json!([mcp_use, mcp_result, text("so")])), ["call:m1", "out:m1", "assistant:so"]);
    assert_eq!(of(json!([mcp_use, text("so")])), ["assistant:so"]);
    assert_eq!(of(json!([mcp_result, text("so")])), ["assistant:[mcp_tool_result left out]|so"]);
    assert_eq!(
        of(json!([{"type": "compaction", "content": "so far"}, text("so")])),
        ["developer:so far", "assistant:so"]
    );
    let fetched = json!({"type": "web_fetch_tool_result", "tool_use_id": "f", "content": {}});
    assert_eq!(
        of(json!([{"type": "server_tool_use", "id": "f", "name": "web_fetch", "input": {}}, fetched])),
        ["assistant:[web_fetch_tool_result left out]"]
    );
}

#[test]
fn q_m32_every_call_gets_one_output_and_every_output_its_call() {
    let cases = [
        (
            "interrupted calls are answered behind their run",
            json!([assistant(json!([call("1"), call("2")])), user(json!([result("2", "b"), text("stop")]))]),
            vec!["call:1", "call:2", "out:1", "out:2", "user:stop"],
        ),
        (
            "outputs may come in any order, and late",
            json!([
                assistant(json!([call("1"), call("2")])),
                user(json!([result("2", "b")])),
                user(json!([text("x"), result("1", "a")]))
            ]),
            vec!["call:1", "call:2", "out:2", "user:x", "out:1"],
        ),
        (
            "an output without a call becomes words",
            json!([user(json!([result("9", "b")]))]),
            vec!["user:[result of an earlier tool call 9] b"],
        ),
        (
            "a second output becomes words",
            json!([assistant(json!([call("1")])), user(json!([result("1", "a"), result("1", "b")]))]),
            vec!["call:1", "out:1", "user:[result of an earlier tool call 1] b"],
        ),
        (
            "repeated ids get a suffix",
            json!([
                assistant(json!([call("1")])),
                user(json!([result("1", "a")])),
                assistant(json!([call("1"), call("1_2")])),
                user(json!([result("1", "b"), result("1_2", "c")])),
            ]),
            vec!["call:1", "out:1", "call:1_3", "call:1_2", "out:1_3", "out:1_2"],
        ),
        (
            "calls in the last position wait",
            json!([user(json!("go")), assistant(json!([call("1")]))]),
            vec!["user:go", "call:1"],
        ),
    ];
    for (case, messages, expected) in cases {
        assert_eq!(outline(&Upstream::openai().input(messages)), expected, "{case}");
    }
    let image = json!({"type": "tool_result", "tool_use_id": "9", "content": [{"type": "image", "source": {"type": "url", "url": "https://a"}}]});
    let parts = Upstream::openai().input(json!([user(json!([image]))]))[0]["content"].take();
    assert_eq!(parts[0]["text"], "[result of an earlier tool call 9] ");
    assert_eq!(parts[1]["type"], "input_image");
}

#[test]
fn q_m33_call_and_output_get_the_same_legal_id() {
    let long = format!("{}|fc_/+=", "x".repeat(240));
    let input = Upstream::codex().input(json!([assistant(json!([call(&long)])), user(json!([result(&long, "a")]))]));
    assert_eq!(input[0]["call_id"], input[1]["call_id"]);
    assert_eq!(input[0]["call_id"].as_str().unwrap().len(), 64);
}

#[test]
fn images_that_a_model_cannot_see_become_a_sentence() {
    let mut upstream = Upstream::openai();
    upstream.omit.images = true;
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://a"}});
    let sentence = json!([{"type": "input_text", "text": "[image omitted: this model cannot see images]"}]);
    assert_eq!(user_parts(&upstream, json!([image])), sentence);
    assert_eq!(upstream.output(json!([image])), sentence);
}

#[test]
fn image_places_lead_back_to_the_clients_blocks() {
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://a"}});
    let pdf = json!({"type": "document", "source": {"type": "base64", "data": "JVBE"}});
    let with_image = json!({"type": "tool_result", "tool_use_id": "1", "content": [text("a"), image]});
    let messages =
        json!([user(json!([text("a"), image])), assistant(json!([call("1")])), user(json!([with_image, pdf]))]);
    let translated = Upstream::openai().translated(&json!({"model": "m", "messages": messages}));
    let places: Vec<_> = translated.images.iter().map(|place| (place.item, place.part, place.path())).collect();
    let expected = [
        (0, 1, "messages.0.content.1.image".to_owned()),
        (2, 1, "messages.2.content.0.tool_result.content.1.image".to_owned()),
        (3, 0, "messages.2.content.1.document".to_owned()),
    ];
    assert_eq!(places, expected);
}

#[test]
fn five_turns_of_unparsed_calls_are_an_endless_loop() {
    let broken = |id: usize| json!({"type": "tool_use", "id": format!("{id}"), "name": "f", "input": {"__unparsedToolInput": {"raw": "{", "len": 1}}});
    let turn = |id: usize| [assistant(json!([broken(id)])), user(json!([result(&id.to_string(), "no")]))];
    let history =
        |turns: usize| std::iter::once(user(json!("go"))).chain((0..turns).flat_map(turn)).collect::<Vec<_>>();
    let judge = |messages: &[Value]| {
        let request = json!({"model": "m", "max_tokens": 9, "messages": messages}).to_string();
        endless_loop(&MessagesRequest::parse(request.as_bytes()).unwrap())
    };
    assert!(judge(&history(4)).is_none());
    let error = judge(&history(5)).expect("five are a loop");
    assert_eq!((error.status, error.kind.as_str(), error.should_retry), (400, "invalid_request_error", Some(false)));
    let mut asked_again = history(6);
    asked_again.push(user(json!("try another way")));
    assert!(judge(&asked_again).is_none(), "the person must be able to go on");
    let mut recovered = history(5);
    recovered.extend([assistant(json!([call("9")])), user(json!([result("9", "yes")]))]);
    assert!(judge(&recovered).is_none());
}
