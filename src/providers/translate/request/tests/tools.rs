//! Tools, their names and schemas, and the choice among them: WIRE.md §1.3.

use serde_json::{Value, json};

use super::Upstream;
use crate::providers::profile::ProfileKind;

fn tool(name: &str) -> Value {
    json!({"name": name, "description": "does it", "input_schema": {"type": "object", "properties": {}}})
}

fn with_tools(upstream: &Upstream, tools: Value) -> Value {
    upstream.body_with(json!({"tools": tools}))
}

fn parameters(schema: Value) -> Value {
    with_tools(&Upstream::openai(), json!([{"name": "f", "input_schema": schema}]))["tools"][0]["parameters"].take()
}

fn names(body: &Value) -> Vec<&str> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().map(|tool| tool["name"].as_str().or(tool["type"].as_str()).unwrap()).collect()
}

#[test]
fn q_t1_client_tools_become_functions_without_their_extras() {
    let expected = json!({"type": "function", "name": "f", "description": "does it", "parameters": {"type": "object", "properties": {}}, "strict": false});
    for kind in [Value::Null, json!("custom"), json!("function")] {
        let mut extra = tool("f");
        extra["type"] = kind;
        extra["cache_control"] = json!({"type": "ephemeral"});
        extra["input_examples"] = json!([{}]);
        extra["eager_input_streaming"] = json!(true);
        extra["defer_loading"] = json!(false);
        assert_eq!(with_tools(&Upstream::openai(), json!([extra]))["tools"], json!([expected]));
    }
}

#[test]
fn q_t2_strict_is_written_and_true_only_for_schemas_that_qualify() {
    let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let open = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let strict = |asked: bool, schema: &Value| {
        let tool = json!({"name": "f", "strict": asked, "input_schema": schema});
        with_tools(&Upstream::openai(), json!([tool]))["tools"][0]["strict"].take()
    };
    assert_eq!(strict(true, &closed), true);
    assert_eq!(strict(false, &closed), false);
    assert_eq!(strict(true, &open), false);
    assert_eq!(strict(true, &json!({})), false, "what it is made of is an open object");
    let mut custom = Upstream::custom();
    custom.profile.strict = false;
    assert!(with_tools(&custom, json!([tool("f")]))["tools"][0].get("strict").is_none());
}

#[test]
fn q_t3_parameters_are_an_object_with_properties() {
    let empty = json!({"type": "object", "properties": {}});
    let nested = json!({"type": "object", "properties": {"a": {"type": "object", "$schema": "x", "pattern": "(", "default": 1}}, "$defs": {"d": {}}});
    let cases = [
        (Value::Null, empty.clone()),
        (json!({}), empty.clone()),
        (json!({"type": "object"}), empty.clone()),
        (json!({"type": "string", "properties": 3}), empty.clone()),
        (json!({"$schema": "s", "$id": "i", "type": "object", "properties": {}}), empty.clone()),
        (json!({"type": "object", "enum": [], "not": {}, "properties": {}}), empty),
        (nested.clone(), nested),
    ];
    for (schema, expected) in cases {
        assert_eq!(parameters(schema), expected);
    }
    let missing = with_tools(&Upstream::openai(), json!([{"name": "f"}]));
    assert_eq!(missing["tools"][0]["parameters"], json!({"type": "object", "properties": {}}));
}

#[test]
fn q_t4_alternatives_on_the_top_level_are_merged_and_told_in_words() {
    let path = json!({"type": "object", "properties": {"kind": {"const": "path"}, "path": {"type": "string"}}, "required": ["kind", "path"]});
    let url = json!({"properties": {"kind": {"const": "url"}, "url": {"type": "string"}}, "required": ["kind", "url"]});
    let schema = json!({"properties": {"depth": {"type": "integer"}}, "required": ["depth"], "oneOf": [path, {"$ref": "#/$defs/url"}], "$defs": {"url": url}});
    let body = with_tools(&Upstream::openai(), json!([{"name": "f", "description": "Reads.", "input_schema": schema}]));
    let merged = &body["tools"][0]["parameters"];
    assert_eq!(merged["required"], json!(["depth", "kind"]));
    assert_eq!(merged["properties"]["kind"], json!({"anyOf": [{"const": "path"}, {"const": "url"}]}));
    let mut properties: Vec<_> = merged["properties"].as_object().unwrap().keys().collect();
    properties.sort();
    assert_eq!(properties, ["depth", "kind", "path", "url"]);
    let description = body["tools"][0]["description"].as_str().unwrap();
    assert_eq!(description, "Reads.\n\nGive exactly one of these sets of arguments: (kind, path), (kind, url).");
    let all = parameters(
        json!({"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]}),
    );
    assert_eq!(all["required"], json!(["a", "b"]), "of allOf every branch holds");
}

#[test]
fn q_t5_what_strict_mode_does_not_know_is_not_strict() {
    let closed = |extra: Value| {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        for (key, value) in extra.as_object().unwrap() {
            schema[key] = value.clone();
        }
        schema
    };
    let strict = |schema: &Value| {
        let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
        Upstream::openai().body_with(format)["text"]["format"]["strict"].as_bool().unwrap()
    };
    assert!(strict(&closed(json!({}))));
    let list = json!({"properties": {"a": {"type": "array", "items": closed(json!({}))}}});
    assert!(strict(&closed(list)));
    let unlike = [
        json!({"additionalProperties": true}),
        json!({"required": []}),
        json!({"patternProperties": {}}),
        json!({"if": {}, "then": {}}),
        json!({"not": {}}),
        json!({"dependentRequired": {}}),
        json!({"unevaluatedProperties": false}),
        json!({"anyOf": []}),
        json!({"properties": {"a": {"type": "array", "uniqueItems": true}}}),
        json!({"properties": {"a": {"type": "object", "properties": {"b": {}}}}}),
        json!({"properties": {"a": {"anyOf": [{"contains": {}}]}}}),
    ];
    for extra in unlike {
        assert!(!strict(&closed(extra.clone())), "{extra}");
    }
    for no_object in [json!({}), json!({"type": "array", "items": closed(json!({}))}), json!({"type": "string"})] {
        assert!(!strict(&no_object), "the root of a strict schema is an object: {no_object}");
    }
    let deep = (0..11).fold(json!({"type": "string"}), |inner, _| closed(json!({"properties": {"a": inner}})));
    assert!(!strict(&deep));
    assert!(
        strict(&closed(json!({"properties": {"not": {"type": "string"}}, "required": ["not"]}))),
        "a property may be called so"
    );
}

#[test]
fn q_t7_names_are_legal_stable_and_come_back() {
    let long = format!("mcp__{}", "x".repeat(120));
    let cases = [
        "Read",
        "mcp.srv/read",
        "mcp_srv_write",
        "mcp.srv/write",
        "naïve",
        "a.b",
        "a/b",
        "",
        &long,
        &format!("{long}y"),
    ];
    let tools: Vec<_> = cases.iter().map(|name| tool(name)).collect();
    let request =
        |tools: &[Value]| json!({"model": "m", "tools": tools, "messages": [{"role": "user", "content": "hi"}]});
    let translated = Upstream::openai().translated(&request(&tools));
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    let sent = names(&body);
    assert_eq!((sent[0], sent[1], sent[2]), ("Read", "mcp_srv_read", "mcp_srv_write"));
    assert!(sent[3].starts_with("mcp_srv_write_"), "a conforming name is reserved: {}", sent[3]);
    assert_eq!(sent[4], "na_ve");
    assert!(sent[5].starts_with("a_b_") && sent[6].starts_with("a_b_"), "{sent:?}");
    assert!(sent[8].len() == 64 && sent[8].starts_with(&long[..55]));
    for (name, sent) in cases.iter().zip(&sent) {
        assert_eq!(translated.reply.tool_names.restore(sent), *name);
    }
    let reversed: Vec<_> = tools.iter().rev().cloned().collect();
    let other = Upstream::openai().body(request(&reversed));
    assert_eq!(names(&other).into_iter().rev().collect::<Vec<_>>(), sent, "whatever the order");
}

#[test]
fn q_t7_calls_and_the_choice_use_the_same_name() {
    let body = Upstream::openai().body(json!({
        "model": "m",
        "tools": [tool("a.b")],
        "tool_choice": {"type": "tool", "name": "a.b"},
        "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "a.b", "input": {}}, {"type": "tool_use", "id": "2", "name": "c.d", "input": {}}]}],
    }));
    assert_eq!((&body["tools"][0]["name"], &body["tool_choice"]["name"]), (&json!("a_b"), &json!("a_b")));
    assert_eq!((&body["input"][0]["name"], &body["input"][1]["name"]), (&json!("a_b"), &json!("c_d")));
}

#[test]
fn q_t8_loaded_tools_stand_last_in_the_order_of_their_references() {
    let reference = |names: &[&str]| {
        let blocks: Vec<_> = names.iter().map(|name| json!({"type": "tool_reference", "tool_name": name})).collect();
        json!({"type": "tool_result", "tool_use_id": "1", "content": blocks})
    };
    let mut deferred = tool("Alpha");
    deferred["defer_loading"] = json!(true);
    let placeholder =
        json!({"name": "DeferredToolPlaceholder", "input_schema": {"type": "object"}, "defer_loading": true});
    let search = json!({"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"});
    let body = Upstream::codex().body(json!({
        "model": "m",
        "tools": [deferred, tool("Bash"), placeholder, search, tool("Gamma"), tool("Read")],
        "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "ToolSearch", "input": {}}]},
            {"role": "user", "content": [reference(&["Gamma", "Alpha", "Gamma", "Unknown"])]},
        ],
    }));
    assert_eq!(names(&body), ["Bash", "Read", "Gamma", "Alpha"]);
}

#[test]
fn q_m5_a_tool_addition_adds_its_function_once() {
    let addition =
        |name: &str| json!({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool(name)}});
    let by_name = json!({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Late"}});
    let body = Upstream::openai().body(json!({
        "model": "m",
        "tools": [tool("Bash"), tool("Read")],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "system", "content": [addition("Late"), addition("Bash"), by_name]},
            {"role": "system", "content": [addition("Late")]},
        ],
    }));
    assert_eq!(names(&body), ["Bash", "Read", "Late"]);
    assert_eq!(body["input"].as_array().unwrap().len(), 1, "such messages make no item");
}

#[test]
fn q_t9_server_tools_are_known_by_the_start_of_their_type() {
    let search = json!({
        "type": "web_search_20260318", "name": "web_search", "max_uses": 4,
        "allowed_domains": ["https://a.com", "b.com"], "blocked_domains": ["c.com", "http://d.com"],
        "user_location": {"type": "approximate", "city": "Paris", "odd": 1},
    });
    let body = Upstream::openai().body_with(json!({"system": "s", "tools": [search]}));
    let expected = json!({
        "type": "web_search",
        "filters": {"allowed_domains": ["a.com", "b.com"]},
        "user_location": {"type": "approximate", "city": "Paris"},
    });
    assert_eq!(body["tools"], json!([expected]));
    assert_eq!(body["instructions"], "s\n\nDo not use results from: c.com, d.com");
    assert_eq!(body["include"], json!(["reasoning.encrypted_content", "web_search_call.action.sources"]));
    assert_eq!(body["max_tool_calls"], 4);
    let codex = with_tools(&Upstream::codex(), json!([search]));
    assert_eq!(codex["include"], json!(["reasoning.encrypted_content"]));
    assert!(with_tools(&Upstream::custom(), json!([search])).get("tools").is_none());
}

#[test]
fn q_t9_client_run_tools_without_a_schema_get_the_well_known_one() {
    let cases = [
        ("bash_20250124", "bash", "command"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "old_str"),
        ("memory_20250818", "memory", "old_path"),
        ("computer_20250124", "computer", "coordinate"),
    ];
    for (kind, name, property) in cases {
        let body = with_tools(&Upstream::custom(), json!([{"type": kind, "name": name, "display_width_px": 100}]));
        assert_eq!(names(&body), [name]);
        assert!(body["tools"][0]["parameters"]["properties"][property].is_object(), "{kind}");
    }
}

#[test]
fn q_t9_what_upstreams_do_not_have_is_dropped_and_refused_if_forced() {
    for kind in [
        "web_fetch_20250910",
        "code_execution_20250825",
        "tool_search_tool_regex_20251119",
        "advisor_20260301",
        "mcp_toolset",
        "hologram_2027",
    ] {
        let request = json!({"model": "m", "tools": [{"type": kind, "name": "x"}], "messages": [{"role": "user", "content": "hi"}]});
        let translated = Upstream::openai().translated(&request);
        assert_eq!(translated.dropped.iter().collect::<Vec<_>>(), [format!("tool.{kind}")]);
        let mut forced = request.clone();
        forced["tool_choice"] = json!({"type": "tool", "name": "x"});
        assert_eq!(Upstream::openai().error(forced).status, 400);
    }
}

#[test]
fn q_t10_without_tools_nothing_speaks_of_them() {
    for tools in [json!([]), json!([{"type": "web_fetch_20250910", "name": "web_fetch"}])] {
        Upstream::openai()
            .body_with(json!({"tools": tools, "tool_choice": {"type": "any", "disable_parallel_tool_use": true}}));
    }
}

#[test]
fn q_t11_tool_choice() {
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let choice = |tools: &Value, choice: Value| {
        let body =
            Upstream::of(ProfileKind::OpenAi, "gpt-5.5").body_with(json!({"tools": tools, "tool_choice": choice}));
        body.get("tool_choice").cloned()
    };
    let both = json!([tool("f"), search]);
    let cases = [
        (&both, Value::Null, None),
        (&both, json!({"type": "auto"}), Some(json!("auto"))),
        (&both, json!({"type": "any"}), Some(json!("required"))),
        (&both, json!({"type": "none"}), Some(json!("none"))),
        (&both, json!({"type": "tool", "name": "f"}), Some(json!({"type": "function", "name": "f"}))),
        (
            &both,
            json!({"type": "tool", "name": "web_search"}),
            Some(json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]})),
        ),
        (&json!([search]), json!({"type": "tool", "name": "web_search"}), Some(json!("required"))),
    ];
    for (tools, asked, expected) in cases {
        assert_eq!(choice(tools, asked.clone()), expected, "{asked}");
    }
}

#[test]
fn q_t12_calls_may_be_parallel_unless_the_client_forbids_it() {
    let parallel = |choice: Value| {
        Upstream::codex().body_with(json!({"tools": [tool("f")], "tool_choice": choice}))["parallel_tool_calls"].take()
    };
    assert_eq!(parallel(Value::Null), true);
    assert_eq!(parallel(json!({"type": "auto", "disable_parallel_tool_use": true})), false);
}
