//! The gateway's face: who is let in, which paths there are, how bodies may come (DESIGN.md §6).

use serde_json::{Value, json};

use crate::support::anthropic_reader::Message;
use crate::support::bodies::{first_request, plain_request};
use crate::support::http_client::Response;
use crate::support::scene::{Scene, error_of};

/// A script that answers everything with a short text.
fn says_hello() -> Value {
    json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Hello."}]}}])
}

fn without_upstream_request(scene: &Scene) {
    let requests = scene.upstream.requests();
    assert!(requests.is_empty(), "the upstream was asked: {requests:#?}");
}

#[test]
fn a_wrong_local_token_is_refused_and_nothing_goes_upstream() {
    let scene = Scene::openai(says_hello());
    let body = first_request("hi").to_string();
    for (name, value) in [
        ("authorization", "Bearer wrong".to_owned()),
        ("authorization", format!("Bearer {}x", scene.gateway.token)),
        ("authorization", format!("Basic {}", scene.gateway.token)),
        ("x-api-key", "wrong".to_owned()),
        ("x-other", "none at all".to_owned()),
    ] {
        let mut connection = scene.gateway.connect();
        let headers = [(name.to_owned(), value), ("content-type".to_owned(), "application/json".to_owned())];
        connection.send("POST", "/v1/messages", &headers, body.as_bytes());
        let response = connection.read_response();
        assert_eq!(response.status, 401, "{name}");
        assert_eq!(response.header("x-should-retry"), Some("false"));
        assert_eq!(error_of(&response).0, "authentication_error");
    }
    without_upstream_request(&scene);
}

/// A refusal must be read before the connection ends, or the client takes it for a broken one and tries again.
#[test]
fn a_refusal_reaches_a_client_that_sends_a_large_body() {
    const BODY_BYTES: usize = 8 * 1024 * 1024;
    let scene = Scene::openai(says_hello());
    for (path, token, status) in [
        ("/v1/messages", "wrong", 401),
        ("/v1/messages/count_tokens", "wrong", 401),
        ("/v1/nothing", scene.gateway.token.as_str(), 404),
    ] {
        let mut connection = scene.gateway.connect();
        let headers = [("x-api-key".to_owned(), token.to_owned())];
        connection.send("POST", path, &headers, &vec![b' '; BODY_BYTES]);
        assert_eq!(connection.read_response().status, status, "{path}");
    }
    without_upstream_request(&scene);
}

#[test]
fn either_header_lets_in_and_a_second_foreign_one_is_ignored() {
    let scene = Scene::openai(says_hello());
    let token = &scene.gateway.token;
    for headers in [
        vec![("x-api-key", token.clone())],
        vec![("authorization", format!("Bearer {token}"))],
        vec![("authorization", "Bearer sk-ant-foreign".to_owned()), ("x-api-key", token.clone())],
        vec![("authorization", format!("Bearer {token}")), ("x-api-key", "sk-ant-foreign".to_owned())],
    ] {
        let mut connection = scene.gateway.connect();
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        connection.send("POST", "/v1/messages", &headers, plain_request("hi").to_string().as_bytes());
        assert_eq!(connection.into_event_stream().head.status, 200, "{headers:?}");
    }
}

#[test]
fn a_host_that_is_not_loopback_is_refused_whatever_token_is_shown() {
    let scene = Scene::openai(says_hello());
    for path in ["/v1/models", "/health", "/"] {
        for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.7"] {
            let mut connection = scene.gateway.connect();
            let mut headers = scene.gateway.headers();
            headers.push(("host".into(), host.into()));
            connection.send("GET", path, &headers, b"");
            let status = connection.read_response().status;
            assert!((400..500).contains(&status), "{path} with Host {host}: {status}");
        }
    }
    let port = scene.gateway.address.rsplit(':').next().expect("a port");
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost".to_owned()] {
        let mut connection = scene.gateway.connect();
        let mut headers = scene.gateway.headers();
        headers.push(("host".into(), host.clone()));
        connection.send("GET", "/health", &headers, b"");
        assert_eq!(connection.read_response().status, 200, "{host}");
    }
}

#[test]
fn a_request_of_a_web_page_is_refused() {
    let scene = Scene::openai(says_hello());
    for origin in ["https://evil.example", "http://localhost:3000", "null"] {
        let mut connection = scene.gateway.connect();
        let mut headers = scene.gateway.headers();
        headers.push(("origin".into(), origin.into()));
        connection.send("POST", "/v1/messages", &headers, plain_request("hi").to_string().as_bytes());
        let status = connection.read_response().status;
        assert!((400..500).contains(&status), "Origin {origin}: {status}");
    }
    without_upstream_request(&scene);
}

#[test]
fn probes_need_no_token() {
    let scene = Scene::openai(says_hello());
    for (method, path) in [("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/"), ("GET", "/health")] {
        let mut connection = scene.gateway.connect();
        connection.send(method, path, &[], b"");
        let response = if method == "HEAD" { connection.read_bodyless_response() } else { connection.read_response() };
        assert_eq!((response.status, response.reason.as_str()), (200, "OK"), "{method} {path}");
    }
}

#[test]
fn an_unknown_path_is_a_not_found_error() {
    let scene = Scene::openai(says_hello());
    for path in ["/v1/complete", "/v1/messages/batches", "/v1/nothing", "/api/oauth/profile"] {
        let response = scene.post(path, &json!({}));
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(error_of(&response).0, "not_found_error", "{path}");
    }
    let response = scene.get("/v1/messages");
    assert_eq!((response.status, error_of(&response).0.as_str()), (404, "not_found_error"), "a known path, GET");
}

#[test]
fn every_answer_has_an_id_of_its_own() {
    let scene = Scene::openai(says_hello());
    let id = |response: &Response| response.header("request-id").expect("an id").to_owned();
    let whole = json!({"model": "gpt-5.5", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]});
    let ids = [
        id(&scene.get("/v1/models")),
        id(&scene.post("/v1/messages", &whole)),
        id(&scene.post("/v1/messages", &json!({}))),
        id(&scene.post("/v1/messages/count_tokens", &whole)),
    ];
    for (index, id) in ids.iter().enumerate() {
        assert!(id.starts_with("req_") && !ids[..index].contains(id), "{ids:?}");
    }
}

#[test]
fn a_faulty_body_is_a_400_and_the_connection_goes_on() {
    let scene = Scene::openai(says_hello());
    let mut connection = scene.gateway.connect();
    let good = plain_request("hi");
    let without = |key: &str| {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(key);
        body.to_string()
    };
    let mut empty = good.clone();
    empty["messages"] = json!([]);
    let mut role = good.clone();
    role["messages"][0]["role"] = json!("tool");
    for (body, mentions) in [
        ("{\"model\": ".to_owned(), ""),
        ("not JSON at all".to_owned(), ""),
        ("[]".to_owned(), ""),
        (String::new(), ""),
        (without("messages"), "messages"),
        (without("max_tokens"), "max_tokens"),
        (empty.to_string(), "messages"),
        (role.to_string(), "messages.0.role"),
    ] {
        connection.send("POST", "/v1/messages?beta=true", &scene.gateway.headers(), body.as_bytes());
        let response = connection.read_response();
        assert_eq!(response.status, 400, "{body}");
        let (kind, message) = error_of(&response);
        assert_eq!(kind, "invalid_request_error", "{body}");
        assert!(message.contains(mentions), "{body}: {message}");
    }
    without_upstream_request(&scene);
    connection.send("POST", "/v1/messages", &scene.gateway.headers(), good.to_string().as_bytes());
    let mut stream = connection.into_event_stream();
    assert_eq!(Message::from_events(&stream.read_to_end()).text(), "Hello.");
    let mut connection = stream.into_connection();
    connection.send("GET", "/v1/models", &scene.gateway.headers(), b"");
    assert_eq!(connection.read_response().status, 200, "a stream leaves its connection usable");
}

#[test]
fn a_chunked_body_is_read_as_any_other() {
    let scene = Scene::openai(says_hello());
    let body = plain_request("in pieces").to_string();
    let mut connection = scene.gateway.connect();
    let mut headers = scene.gateway.headers();
    headers.push(("transfer-encoding".into(), "chunked".into()));
    connection.send_head("POST", "/v1/messages", &headers);
    for piece in body.as_bytes().chunks(7) {
        connection.write(format!("{:x}\r\n", piece.len()).as_bytes());
        connection.write(piece);
        connection.write(b"\r\n");
    }
    connection.write(b"0\r\n\r\n");
    assert_eq!(Message::from_events(&connection.into_event_stream().read_to_end()).text(), "Hello.");
    assert!(scene.upstream.only_request().body.to_string().contains("in pieces"));
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let scene = Scene::openai(says_hello());
    let body = plain_request("hi").to_string();
    let mut connection = scene.gateway.connect();
    let mut headers = scene.gateway.headers();
    headers.push(("expect".into(), "100-continue".into()));
    headers.push(("content-length".into(), body.len().to_string()));
    connection.send_head("POST", "/v1/messages", &headers);
    assert_eq!(connection.read_head().status, 100);
    connection.write(body.as_bytes());
    assert_eq!(Message::from_events(&connection.into_event_stream().read_to_end()).text(), "Hello.");
}

#[test]
fn a_body_beyond_32_mib_is_too_large() {
    const TOO_LARGE_BYTES: usize = 32 * 1024 * 1024 + 1024;
    let scene = Scene::openai(says_hello());
    let mut connection = scene.gateway.connect();
    let mut headers = scene.gateway.headers();
    headers.push(("content-length".into(), TOO_LARGE_BYTES.to_string()));
    connection.send_head("POST", "/v1/messages", &headers);
    let piece = vec![b' '; 1024 * 1024];
    let mut left = TOO_LARGE_BYTES;
    while left > 0 {
        let count = left.min(piece.len());
        assert!(connection.try_write(&piece[..count]), "the rest of the body is read, so that the answer is seen");
        left -= count;
    }
    let response = connection.read_response();
    assert_eq!(response.status, 413);
    let (kind, message) = error_of(&response);
    assert_eq!(kind, "request_too_large");
    assert!(!message.contains("context window"), "{message}");
    without_upstream_request(&scene);
}

#[test]
fn a_body_that_is_announced_as_too_large_is_refused_before_it_comes() {
    let scene = Scene::openai(says_hello());
    let mut connection = scene.gateway.connect();
    let mut headers = scene.gateway.headers();
    headers.push(("content-length".into(), (40 * 1024 * 1024).to_string()));
    connection.send_head("POST", "/v1/messages", &headers);
    assert_eq!(connection.read_response().status, 413);
    assert!(connection.try_write(&vec![b' '; 1024 * 1024]), "what comes all the same is read");
}

#[test]
fn a_request_without_stream_gets_one_message() {
    let script = json!([{"on": "turn", "reply": {"stream": [
        {"reasoning": "Hm.", "encrypted": "gAAAAABsecret"},
        {"text": "Let me look."},
        {"call": {"id": "call_1", "name": "Bash", "arguments": {"command": "ls"}}},
    ]}}]);
    let scene = Scene::openai(script);
    let mut body = first_request("look");
    body.as_object_mut().expect("an object").remove("stream");
    let response = scene.post("/v1/messages?beta=true", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    let message = Message::from_json(&response.json());
    assert_eq!(message.kinds(), ["thinking", "text", "tool_use"]);
    assert_eq!(message.text(), "Let me look.");
    assert_eq!(message.blocks("tool_use")[0]["input"], json!({"command": "ls"}));
    assert_eq!(message.stop_reason, "tool_use");
    assert_eq!(message.model, "anthropic/gpt-5.5");
    assert_eq!(scene.upstream.only_request().body["stream"], true, "upstream it is always a stream");
}

/// What `claude` asks before a risky tool in its mode auto, in both its forms: an answer of another shape blocks the tool
/// (WIRE.md 2.12). 64 tokens would not be enough for a model that reasons (Q-P2).
#[test]
fn a_permission_classifier_gets_its_verdict() {
    for (stop, max_tokens) in [("</block>", 2112), ("</severity>", 64)] {
        let words = format!("<verdict>no{stop} and more that nobody asked for");
        let scene = Scene::openai(json!([{"on": "plain", "reply": {"stream": [{"text": words}]}}]));
        let body = json!({"model": "anthropic/gpt-5.5", "max_tokens": max_tokens, "stop_sequences": [stop],
            "thinking": {"type": "disabled"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "May it run?"}]}]});
        let response = scene.post("/v1/messages?beta=true", &body);
        assert_eq!(response.status, 200, "{}", response.text());
        let message = response.json();
        assert_eq!(message["content"], json!([{"type": "text", "text": "<verdict>no"}]), "{message}");
        assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
        let sent = scene.upstream.only_request().body;
        assert_eq!(sent["max_output_tokens"], max_tokens.max(1024));
        assert_eq!(sent["reasoning"]["effort"], "none");
    }
}

#[test]
fn counting_tokens_asks_the_upstream_that_can_count() {
    let scene = Scene::openai(says_hello());
    for body in [
        json!({"model": "anthropic/gpt-5.5", "messages": [{"role": "user", "content": "foo"}], "tools": []}),
        json!({"model": "anthropic/gpt-5.5", "messages": [{"role": "user", "content": "foo"}]}),
    ] {
        let response = scene.post("/v1/messages/count_tokens?beta=true", &body);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["input_tokens"], 4321);
    }
    without_upstream_request(&scene);
}

#[test]
fn counting_tokens_falls_back_to_a_local_count() {
    let script = json!([{"on": "count", "times": 0, "reply": {"status": 500, "json": {}}}]);
    for scene in [Scene::openai(script), Scene::custom(Value::Null)] {
        let body = json!({"model": "x", "messages": [{"role": "user", "content": "one two three four"}]});
        let response = scene.post("/v1/messages/count_tokens?beta=true", &body);
        assert_eq!(response.status, 200, "{}", response.text());
        let count = response.json()["input_tokens"].as_u64().expect("a number");
        assert!((4..100).contains(&count), "{count}");
    }
}

#[test]
fn many_requests_at_once_each_get_their_own_answer() {
    let steps: Vec<Value> = (0..12)
        .map(|number| {
            json!({"on": "plain", "contains": format!("question {number}."),
                "reply": {"stream": [{"text": format!("answer {number}.")}]}})
        })
        .collect();
    let scene = Scene::openai(Value::Array(steps));
    std::thread::scope(|scope| {
        for number in 0..12 {
            let scene = &scene;
            scope.spawn(move || {
                let message = scene.message(&plain_request(&format!("question {number}.")));
                assert_eq!(message.text(), format!("answer {number}."));
            });
        }
    });
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let scene = Scene::openai(says_hello());
    let mut connection = scene.gateway.connect();
    let body = plain_request("hi").to_string();
    connection.send("POST", "/v1/messages", &scene.gateway.headers(), body.as_bytes());
    let response: Response = {
        let mut stream = connection.into_event_stream();
        let events = stream.read_to_end();
        assert_eq!(Message::from_events(&events).text(), "Hello.");
        let mut connection = stream.into_connection();
        connection.send("GET", "/health", &[], b"");
        connection.close_writing();
        connection.read_response()
    };
    assert_eq!(response.status, 200);
}
