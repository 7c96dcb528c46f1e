//! The lines that `claude -p` prints: any text is a line or an error.
#![no_main]

use claudette::providers::claude_cli::stream_json::Line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for line in text.lines() {
        if let Ok(line) = Line::parse(line) {
            let _ = format!("{line:?}");
        }
    }
});
