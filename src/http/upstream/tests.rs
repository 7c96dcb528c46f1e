//! The client against real sockets: each fake upstream does one thing, named in its test.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use awc::http::header::{AUTHORIZATION, CONTENT_TYPE};
use bytes::Bytes;
use futures_util::StreamExt;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;

/// For what must not time out.
const LONG: Duration = Duration::from_secs(20);
/// For what must.
const SHORT: Duration = Duration::from_millis(50);

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-request-id: req_1\r\n\r\nhello";

fn target(base_url: &str) -> Target {
    Target {
        base_url: Url::parse(base_url).unwrap(),
        ca_file: None,
        proxy: None,
        connect_timeout: LONG,
        pool_idle: LONG,
    }
}

async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1/", listener.local_addr().unwrap());
    (listener, target(&base_url))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

/// Reads one request of HTTP/1.1: its head in small letters, the header lines sorted and without `date`, and as much
/// body as it announces.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    let mut lines: Vec<_> = head.trim_end().lines().filter(|line| !line.starts_with("date: ")).collect();
    lines[1..].sort_unstable();
    (lines.join("\n"), body)
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), response: &str) -> (String, Vec<u8>) {
    let request = read_request(stream).await;
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    request
}

/// Resolves when the peer has closed or reset the connection.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

fn post() -> Outgoing {
    Outgoing::post("/responses", Bytes::from_static(b"{}"))
}

async fn sent(target: &Target, outgoing: &Outgoing) -> Result<Incoming, SendFault> {
    UpstreamClient::new(target).unwrap().send(outgoing, LONG).await
}

async fn text_of(incoming: Incoming) -> String {
    String::from_utf8(incoming.read_limited(64 * 1024, LONG).await).unwrap()
}

fn fault_of(answer: Result<Incoming, SendFault>) -> SendFault {
    match answer {
        Ok(incoming) => panic!("an answer came: {}", incoming.status()),
        Err(fault) => fault,
    }
}

async fn last_of(mut incoming: Incoming) -> (Vec<u8>, Option<BodyFault>) {
    let mut body = Vec::new();
    while let Some(chunk) = incoming.next().await {
        match chunk {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(fault) => {
                assert!(incoming.next().await.is_none());
                return (body, Some(fault));
            }
        }
    }
    (body, None)
}

#[actix_rt::test]
async fn q0_1_only_our_headers_go_out_and_the_answer_comes_back() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move { answer(&mut accept(&listener).await, HELLO).await });
    let outgoing = post()
        .with_header(AUTHORIZATION, HeaderValue::from_static("Bearer key"))
        .with_header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let incoming = sent(&target, &outgoing).await.unwrap();
    assert_eq!(incoming.status(), 200);
    assert_eq!(incoming.header("X-Request-Id"), Some("req_1"));
    assert_eq!(incoming.header("retry-after"), None);
    assert_eq!(text_of(incoming).await, "hello");

    let (head, body) = upstream.await.unwrap();
    let host = target.base_url.authority();
    let expected = format!(
        "post /v1/responses http/1.1\naccept-encoding: identity\nauthorization: bearer key\ncontent-length: 2\n\
         content-type: application/json\nhost: {host}"
    );
    assert_eq!(head, expected);
    assert_eq!(body, b"{}");
}

#[actix_rt::test]
async fn a_large_body_arrives_whole_and_with_its_length() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move { answer(&mut accept(&listener).await, HELLO).await });
    let body: Bytes = (0..100_001_u32).map(|number| number as u8).collect();
    let incoming = sent(&target, &Outgoing::post("/responses", body.clone())).await.unwrap();
    assert_eq!(text_of(incoming).await, "hello");
    let (head, received) = upstream.await.unwrap();
    assert!(head.contains("content-length: 100001") && !head.contains("transfer-encoding"), "{head}");
    assert!(received == body);
}

#[actix_rt::test]
async fn a_get_has_no_body_and_keeps_its_query() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move { answer(&mut accept(&listener).await, HELLO).await });
    sent(&target, &Outgoing::get("/models?client_version=1")).await.unwrap();
    let (head, _) = upstream.await.unwrap();
    assert!(head.starts_with("get /v1/models?client_version=1 http/1.1\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
}

#[actix_rt::test]
async fn a_plain_http_upstream_is_reached_past_the_proxy() {
    let (listener, mut target) = listen().await;
    target.proxy = Some(Proxy::parse("http://proxy.invalid:1").unwrap());
    actix_rt::spawn(async move { answer(&mut accept(&listener).await, HELLO).await });
    assert_eq!(text_of(sent(&target, &post()).await.unwrap()).await, "hello");
}

#[actix_rt::test]
async fn a_redirect_is_not_followed() {
    let (listener, target) = listen().await;
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    actix_rt::spawn(async move { answer(&mut accept(&listener).await, redirect).await });
    let incoming = sent(&target, &post()).await.unwrap();
    assert_eq!((incoming.status(), incoming.header("location")), (307, Some("http://127.0.0.1:1/")));
}

#[actix_rt::test]
async fn r_x2_a_request_on_a_dead_pooled_connection_is_sent_again_on_a_new_one() {
    for is_reset in [false, true] {
        let (listener, target) = listen().await;
        let upstream = actix_rt::spawn(async move {
            let mut pooled = accept(&listener).await;
            answer(&mut pooled, HELLO).await;
            let refused = read_request(&mut pooled).await;
            if is_reset {
                socket2::SockRef::from(&pooled).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(pooled);
            let again = answer(&mut accept(&listener).await, HELLO).await;
            (refused, again)
        });
        let client = UpstreamClient::new(&target).unwrap();
        for _ in 0..2 {
            let incoming = client.send(&post(), LONG).await.unwrap();
            assert_eq!(text_of(incoming).await, "hello");
        }
        let (refused, again) = upstream.await.unwrap();
        assert_eq!(refused, again, "is_reset: {is_reset}");
    }
}

#[actix_rt::test]
async fn r_x2_a_request_is_sent_again_only_once() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move {
        let mut pooled = accept(&listener).await;
        answer(&mut pooled, HELLO).await;
        read_request(&mut pooled).await;
        drop(pooled);
        read_request(&mut accept(&listener).await).await;
        listener
    });
    let client = UpstreamClient::new(&target).unwrap();
    text_of(client.send(&post(), LONG).await.unwrap()).await;
    let fault = fault_of(client.send(&post(), LONG).await);
    assert!(matches!(fault, SendFault::ClosedBeforeHead), "{fault:?}");
    assert_nobody_waits(&upstream.await.unwrap()).await;
}

#[actix_rt::test]
async fn r_x2_a_new_connection_that_closes_before_the_head_is_a_fault_at_once() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move {
        read_request(&mut accept(&listener).await).await;
        listener
    });
    let fault = fault_of(sent(&target, &post()).await);
    assert!(matches!(fault, SendFault::ClosedBeforeHead), "{fault:?}");
    assert!(!fault.is_timeout());
    assert_nobody_waits(&upstream.await.unwrap()).await;
}

/// The client has given up by now, so a second connection of its would be in the backlog.
async fn assert_nobody_waits(listener: &TcpListener) {
    let accepted = std::future::poll_fn(|context| std::task::Poll::Ready(listener.poll_accept(context))).await;
    assert!(accepted.is_pending());
}

#[actix_rt::test]
async fn a_refused_connection_names_the_address() {
    let (listener, target) = listen().await;
    drop(listener);
    let fault = fault_of(sent(&target, &post()).await);
    assert_eq!(fault.to_string(), format!("{} refused the connection.", target.base_url.authority()));
}

#[actix_rt::test]
async fn a_name_that_cannot_be_resolved_is_a_dns_fault() {
    // Longer than a label may be, so that no server is asked.
    let host = "a".repeat(64);
    let fault = fault_of(sent(&target(&format!("http://{host}/v1")), &post()).await);
    assert!(matches!(&fault, SendFault::Dns(text) if text.contains(&host)), "{fault:?}");
}

#[actix_rt::test]
async fn the_first_byte_timeout_cancels_the_request() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        read_request(&mut stream).await;
        closed(&mut stream).await;
    });
    let client = UpstreamClient::new(&target).unwrap();
    let fault = fault_of(client.send(&post(), SHORT).await);
    assert!(matches!(fault, SendFault::FirstByteTimeout) && fault.is_timeout(), "{fault:?}");
    upstream.await.unwrap();
}

#[actix_rt::test]
async fn an_answer_that_is_not_http_is_a_fault() {
    let (listener, target) = listen().await;
    actix_rt::spawn(async move { answer(&mut accept(&listener).await, "SSH-2.0-OpenSSH\r\n\r\n").await });
    let fault = fault_of(sent(&target, &post()).await);
    assert!(matches!(fault, SendFault::BadAnswer(_)), "{fault:?}");
}

#[actix_rt::test]
async fn a_chunk_arrives_before_the_end_of_the_answer() {
    let (listener, target) = listen().await;
    let (seen, was_seen) = oneshot::channel();
    actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        was_seen.await.unwrap();
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    });
    let mut incoming = sent(&target, &post()).await.unwrap();
    assert_eq!(incoming.next().await.unwrap().unwrap(), "first");
    seen.send(()).unwrap();
    assert_eq!(incoming.next().await.unwrap().unwrap(), "second");
    assert!(incoming.next().await.is_none());
}

#[actix_rt::test]
async fn dropping_the_answer_closes_the_connection() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        closed(&mut stream).await;
    });
    let client = UpstreamClient::new(&target).unwrap();
    let mut incoming = client.send(&post(), LONG).await.unwrap();
    incoming.next().await.unwrap().unwrap();
    drop(incoming);
    upstream.await.unwrap();
}

#[actix_rt::test]
async fn an_answer_still_streams_after_its_pool_was_renewed() {
    let (listener, target) = listen().await;
    let (renewed, was_renewed) = oneshot::channel();
    actix_rt::spawn(async move {
        let mut pooled = accept(&listener).await;
        answer(&mut pooled, HELLO).await;
        answer(&mut pooled, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n").await;
        let mut dying = accept(&listener).await;
        answer(&mut dying, HELLO).await;
        read_request(&mut dying).await;
        drop(dying);
        answer(&mut accept(&listener).await, HELLO).await;
        was_renewed.await.unwrap();
        pooled.write_all(b"stream").await.unwrap();
    });
    let client = UpstreamClient::new(&target).unwrap();
    text_of(client.send(&post(), LONG).await.unwrap()).await;
    let streaming = client.send(&post(), LONG).await.unwrap();
    text_of(client.send(&post(), LONG).await.unwrap()).await;
    text_of(client.send(&post(), LONG).await.unwrap()).await;
    renewed.send(()).unwrap();
    assert_eq!(text_of(streaming).await, "stream");
}

#[actix_rt::test]
async fn a_body_shorter_than_announced_is_truncated() {
    let (listener, target) = listen().await;
    actix_rt::spawn(async move {
        answer(&mut accept(&listener).await, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour").await
    });
    let (body, fault) = last_of(sent(&target, &post()).await.unwrap()).await;
    assert_eq!(body, b"four");
    assert!(matches!(fault, Some(BodyFault::Truncated { announced: 10, received: 4 })), "{fault:?}");
}

#[actix_rt::test]
async fn a_reset_in_the_body_is_a_cut() {
    let (listener, target) = listen().await;
    let (seen, was_seen) = oneshot::channel();
    actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n").await;
        was_seen.await.unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let mut incoming = sent(&target, &post()).await.unwrap();
    incoming.next().await.unwrap().unwrap();
    seen.send(()).unwrap();
    let (_, fault) = last_of(incoming).await;
    assert!(matches!(fault, Some(BodyFault::Cut(_))), "{fault:?}");
}

/// A limit of awc: whoever reads a stream must wait for its terminal event (STACK.md §0).
#[actix_rt::test]
async fn a_chunked_body_cut_between_chunks_looks_whole() {
    let (listener, target) = listen().await;
    actix_rt::spawn(async move {
        let cut = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n";
        answer(&mut accept(&listener).await, cut).await
    });
    let (body, fault) = last_of(sent(&target, &post()).await.unwrap()).await;
    assert_eq!(body, b"four");
    assert!(fault.is_none(), "{fault:?}");
}

#[actix_rt::test]
async fn a_body_that_ends_with_the_connection_is_told_apart_from_an_empty_one() {
    let table = [
        ("HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\nsorry", true),
        ("HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 502 Bad Gateway\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
    ];
    for (response, expected) in table {
        let (listener, target) = listen().await;
        actix_rt::spawn(async move { answer(&mut accept(&listener).await, response).await });
        let incoming = sent(&target, &post()).await.unwrap();
        assert_eq!(incoming.has_unreadable_body(), expected, "{response:?}");
        assert_eq!(text_of(incoming).await, "", "{response:?}");
    }
}

#[actix_rt::test]
async fn a_limited_read_ends_at_its_limit_and_at_its_time() {
    let (listener, target) = listen().await;
    let upstream = actix_rt::spawn(async move {
        for _ in 0..2 {
            let mut stream = accept(&listener).await;
            answer(&mut stream, "HTTP/1.1 500 Oops\r\ncontent-length: 1000\r\n\r\n0123456789").await;
            closed(&mut stream).await;
        }
    });
    let limited = sent(&target, &post()).await.unwrap().read_limited(4, LONG).await;
    assert_eq!(limited, b"0123");
    let late = sent(&target, &post()).await.unwrap().read_limited(64, SHORT).await;
    assert_eq!(late, b"0123456789");
    upstream.await.unwrap();
}

/// An authority of its own, whose only certificate is for `upstream.test`.
struct Authority {
    certificate: CertifiedKey<KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self { certificate: generate_simple_self_signed(["upstream.test".to_owned()]).unwrap() }
    }

    fn file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(self.certificate.cert.pem().as_bytes()).unwrap();
        file
    }

    fn acceptor(&self, protocol: &str) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.certificate.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config).into()
    }
}

/// A listener that is a proxy, and a target behind it whose certificate is trusted by `ca_file` alone.
async fn listen_as_proxy(ca_file: &NamedTempFile) -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = target("https://upstream.test/v1");
    target.ca_file = Some(ca_file.path().to_owned());
    let proxy = format!("http://user:secret@{}", listener.local_addr().unwrap());
    target.proxy = Some(Proxy::parse(&proxy).unwrap());
    (listener, target)
}

const TUNNEL: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[actix_rt::test]
async fn an_https_upstream_is_reached_through_the_proxy_and_trusted_by_its_ca_file() {
    let authority = Authority::new();
    let ca_file = authority.file();
    let (listener, target) = listen_as_proxy(&ca_file).await;
    let acceptor = authority.acceptor("http/1.1");
    let proxy = actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        let (asked, _) = answer(&mut stream, TUNNEL).await;
        let mut tls = acceptor.accept(stream).await.unwrap();
        let (request, _) = answer(&mut tls, HELLO).await;
        (asked, request)
    });
    assert_eq!(text_of(sent(&target, &post()).await.unwrap()).await, "hello");
    let (asked, request) = proxy.await.unwrap();
    assert!(asked.starts_with("connect upstream.test:443 http/1.1\nhost: upstream.test:443\n"), "{asked}");
    assert!(asked.contains("proxy-authorization: basic "), "{asked}");
    assert!(request.starts_with("post /v1/responses ") && !request.contains("proxy-"), "{request}");
}

#[actix_rt::test]
async fn http2_streams_and_a_dropped_answer_resets_its_stream() {
    let authority = Authority::new();
    let ca_file = authority.file();
    let (listener, target) = listen_as_proxy(&ca_file).await;
    let acceptor = authority.acceptor("h2");
    let (reset, was_reset) = oneshot::channel();
    actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, TUNNEL).await;
        let mut http = h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
        let (_, mut respond) = http.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(Default::default(), false).unwrap();
        body.send_data(Bytes::from_static(b"whole"), false).unwrap();
        body.send_data(Bytes::new(), true).unwrap();
        let (_, mut respond) = http.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(Default::default(), false).unwrap();
        body.send_data(Bytes::from_static(b"first"), false).unwrap();
        actix_rt::spawn(async move { while http.accept().await.is_some() {} });
        let reason = std::future::poll_fn(|context| body.poll_reset(context)).await;
        reset.send(reason.unwrap()).unwrap();
    });
    let client = UpstreamClient::new(&target).unwrap();
    let (body, fault) = last_of(client.send(&post(), LONG).await.unwrap()).await;
    assert_eq!((body.as_slice(), fault.is_none()), (b"whole".as_slice(), true));
    let mut incoming = client.send(&post(), LONG).await.unwrap();
    assert!(!incoming.has_unreadable_body());
    assert_eq!(incoming.next().await.unwrap().unwrap(), "first");
    drop(incoming);
    assert_eq!(was_reset.await.unwrap(), h2::Reason::CANCEL);
}

/// An upstream's front end sends GOAWAY as a matter of course, while answers stream.
#[actix_rt::test]
async fn an_answer_over_http2_outlives_a_goaway_and_the_next_request() {
    let authority = Authority::new();
    let ca_file = authority.file();
    let (listener, target) = listen_as_proxy(&ca_file).await;
    let acceptor = authority.acceptor("h2");
    let (asked_again, was_asked_again) = oneshot::channel();
    actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, TUNNEL).await;
        let mut http = h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
        let (_, mut respond) = http.accept().await.unwrap().unwrap();
        let mut streaming = respond.send_response(Default::default(), false).unwrap();
        streaming.send_data(Bytes::from_static(b"first"), false).unwrap();
        http.graceful_shutdown();
        actix_rt::spawn(async move { while http.accept().await.is_some() {} });
        let mut whole = answer_over_http2(&listener, &acceptor, "whole").await;
        whole.send_data(Bytes::new(), true).unwrap();
        was_asked_again.await.unwrap();
        streaming.send_data(Bytes::from_static(b" second"), true).unwrap();
    });
    let client = UpstreamClient::new(&target).unwrap();
    let mut streaming = client.send(&post(), LONG).await.unwrap();
    assert_eq!(streaming.next().await.unwrap().unwrap(), "first");
    assert_eq!(text_of(client.send(&post(), LONG).await.unwrap()).await, "whole");
    asked_again.send(()).unwrap();
    let (body, fault) = last_of(streaming).await;
    assert_eq!((body.as_slice(), fault.is_none()), (b" second".as_slice(), true));
}

/// Takes a connection to the proxy and begins the answer to its first request; whatever else comes is left unanswered.
async fn answer_over_http2(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    text: &'static str,
) -> h2::SendStream<Bytes> {
    let mut stream = accept(listener).await;
    answer(&mut stream, TUNNEL).await;
    let mut http = h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
    let (_, mut respond) = http.accept().await.unwrap().unwrap();
    let mut body = respond.send_response(Default::default(), false).unwrap();
    body.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
    actix_rt::spawn(async move { while http.accept().await.is_some() {} });
    body
}

#[actix_rt::test]
async fn an_untrusted_certificate_is_a_fault_that_names_the_host_and_ca_file() {
    let other_authority = Authority::new().file();
    let (listener, target) = listen_as_proxy(&other_authority).await;
    let acceptor = Authority::new().acceptor("http/1.1");
    actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, TUNNEL).await;
        acceptor.accept(stream).await.map(|_| ())
    });
    let fault = fault_of(sent(&target, &post()).await);
    assert!(matches!(fault, SendFault::Untrusted { .. }), "{fault:?}");
    let sentence = fault.to_string();
    assert!(sentence.contains("upstream.test") && sentence.contains("ca_file"), "{sentence}");
}

#[actix_rt::test]
async fn a_certificate_of_another_host_is_a_fault_without_talk_of_ca_file() {
    let authority = Authority::new();
    let ca_file = authority.file();
    let (listener, mut target) = listen_as_proxy(&ca_file).await;
    target.base_url = Url::parse("https://other.test/v1").unwrap();
    let acceptor = authority.acceptor("http/1.1");
    actix_rt::spawn(async move {
        let mut stream = accept(&listener).await;
        answer(&mut stream, TUNNEL).await;
        acceptor.accept(stream).await.map(|_| ())
    });
    let fault = fault_of(sent(&target, &post()).await);
    assert!(matches!(fault, SendFault::BadCertificate { .. }), "{fault:?}");
    let sentence = fault.to_string();
    assert!(sentence.contains("other.test") && !sentence.contains("ca_file"), "{sentence}");
}

#[actix_rt::test]
async fn a_tls_handshake_that_is_cut_is_a_tls_fault_and_one_that_hangs_a_timeout() {
    let ca_file = Authority::new().file();
    let (listener, mut target) = listen_as_proxy(&ca_file).await;
    let upstream = actix_rt::spawn(async move {
        answer(&mut accept(&listener).await, TUNNEL).await;
        let mut hanging = accept(&listener).await;
        answer(&mut hanging, TUNNEL).await;
        closed(&mut hanging).await;
    });
    let fault = fault_of(sent(&target, &post()).await);
    assert!(matches!(fault, SendFault::Tls(_)), "{fault:?}");
    target.connect_timeout = SHORT;
    let fault = fault_of(sent(&target, &post()).await);
    assert!(matches!(fault, SendFault::ConnectTimeout) && fault.is_timeout(), "{fault:?}");
    upstream.await.unwrap();
}

#[actix_rt::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let too_long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(9000));
    let table = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "(407)"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused to connect to upstream.test:443 with status 403"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\n", "the connection was closed"),
        (&too_long, "its head is too long"),
    ];
    for (response, expected) in table {
        let ca_file = Authority::new().file();
        let (listener, target) = listen_as_proxy(&ca_file).await;
        let response = response.to_owned();
        actix_rt::spawn(async move { answer(&mut accept(&listener).await, &response).await });
        let fault = fault_of(sent(&target, &post()).await);
        assert!(matches!(fault, SendFault::ProxyRefused(_)), "{fault:?}");
        let sentence = fault.to_string();
        assert!(sentence.contains(expected) && sentence.contains("127.0.0.1:"), "{sentence}");
        assert!(!format!("{sentence} {fault:?}").contains("secret"));
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_a_fault_that_names_it() {
    let mut torn = NamedTempFile::new().unwrap();
    torn.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let empty = NamedTempFile::new().unwrap();
    let missing = std::path::Path::new("/nonexistent/ca.pem");
    for path in [torn.path(), empty.path(), missing] {
        let mut target = target("https://upstream.test/v1");
        target.ca_file = Some(path.to_owned());
        let Err(fault) = UpstreamClient::new(&target) else { panic!("{path:?} was accepted") };
        assert!(fault.to_string().contains(&*path.to_string_lossy()), "{fault}");
    }
}

#[test]
fn equal_authorities_share_one_configuration_while_it_is_held() {
    let file = Authority::new().file();
    let copy = NamedTempFile::new().unwrap();
    std::fs::copy(file.path(), copy.path()).unwrap();
    let other = Authority::new().file();
    let held = tls::client_config(Some(file.path())).unwrap();
    assert!(Arc::ptr_eq(&held, &tls::client_config(Some(copy.path())).unwrap()));
    assert!(!Arc::ptr_eq(&held, &tls::client_config(Some(other.path())).unwrap()));
    assert_eq!(held.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn a_request_is_printed_without_its_body_and_header_values() {
    let outgoing = Outgoing::post("/responses", Bytes::from_static(b"prompt"))
        .with_header(AUTHORIZATION, HeaderValue::from_static("Bearer key"));
    let printed = format!("{outgoing:?}");
    assert!(printed.contains("/responses") && printed.contains("authorization"), "{printed}");
    assert!(!printed.contains("prompt") && !printed.contains("key"), "{printed}");
}
