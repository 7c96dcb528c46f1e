//! What the `codex` CLI and its backend write: auth.json, the config's few keys, catalogue, routing and quota. Any bytes
//! are read or refused, and a login prints no secret.
#![no_main]

use claudette::providers::codex::catalogue;
use claudette::providers::codex::login::CodexLogin;
use claudette::providers::codex::quota::PlanQuota;
use claudette::providers::codex::routing::WorkspaceRoute;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(login) = CodexLogin::parse(input) {
        let _ = login.life(1_800_000_000);
        assert!(login.token.bytes().all(|byte| byte.is_ascii_graphic()));
        let printed = format!("{login:?}");
        assert!(login.token.len() < 40 || !printed.contains(&**login.token), "{printed}");
    }
    let _ = catalogue::parse(input);
    let _ = WorkspaceRoute::parse(input, "account");
    let _ = PlanQuota::of_usage(input);
    let _ = PlanQuota::of_event(&String::from_utf8_lossy(input));
});
