//! Whole streams of real servers (RESPONSES-SERVERS.md), each also in odd chunks and cut at every event.

use super::transcript::Transcript;
use super::{context, run, whole};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::response::{Failure, Step};

struct Golden {
    file: &'static str,
    profile: ProfileKind,
    blocks: &'static [&'static str],
    stop_reason: &'static str,
    /// Input, written to and read from the cache, output, thinking.
    usage: [u64; 5],
}

const GOLDEN: &[Golden] = &[
    Golden {
        file: "codex_turn1_tool_call",
        profile: ProfileKind::Codex,
        blocks: &[
            r#"thinking "**Planning the check**\n\nI will list files first." {"k":"e","m":"gpt-5.5","ph":"commentary","e":"gAAAAABfake-encrypted-reasoning-rs_0a1b2c3d4e5f60718293a4b5c6d7e8f902"}"#,
            r#"text "I'll look at the directory.""#,
            r#"tool_use call_Abc123Def456Ghi789Jkl012 exec_command {"cmd": "echo hello-from-tool && pwd", "yield_time_ms": 1000}"#,
        ],
        stop_reason: "tool_use",
        usage: [210, 0, 1024, 56, 20],
    },
    Golden {
        file: "codex_turn2_final_with_extras",
        profile: ProfileKind::Codex,
        blocks: &[
            r#"thinking "**Summarizing**\n\nThe tool printed a greeting." {"k":"e","m":"gpt-5.5","ph":"final_answer","e":"gAAAAABfake-encrypted-reasoning-rs_0a1b2c3d4e5f60718293a4b5c6d7e8f912"}"#,
            r#"text "Hi! The tool said hello-from-tool.""#,
        ],
        stop_reason: "end_turn",
        usage: [220, 0, 1280, 33, 12],
    },
    Golden {
        file: "codex_turn2_final_empty_completed_output",
        profile: ProfileKind::Codex,
        blocks: &[
            r#"thinking "**Summarizing**\n\nThe tool printed a greeting." {"k":"e","m":"gpt-5.5","ph":"final_answer","e":"gAAAAABfake-encrypted-reasoning-rs_0a1b2c3d4e5f60718293a4b5c6d7e8f912"}"#,
            r#"text "Hi! The tool said hello-from-tool.""#,
        ],
        stop_reason: "end_turn",
        usage: [220, 0, 1280, 33, 12],
    },
    Golden {
        file: "codex_incomplete_max_output_tokens",
        profile: ProfileKind::Codex,
        blocks: &[r#"text "Partial answ""#],
        stop_reason: "max_tokens",
        usage: [10, 0, 0, 4, 0],
    },
    Golden {
        file: "codex_lite_turn1_custom_exec",
        profile: ProfileKind::Codex,
        blocks: &[
            r#"thinking "**Checking**\n\nRun a command through exec." {"k":"e","m":"gpt-5.5","e":"gAAAAABfake-encrypted-reasoning-rs_0a1b2c3d4e5f60718293a4b5c6d7e8f922"}"#,
            r#"tool_use call_Lite123Def456Ghi789Jkl01 exec {"input":"const r = await tools.exec_command({cmd: \"echo hello-from-lite\"}); text(r.output);"}"#,
        ],
        stop_reason: "tool_use",
        usage: [210, 0, 1024, 56, 20],
    },
    Golden {
        file: "codex_minimal_no_event_lines",
        profile: ProfileKind::Codex,
        blocks: &[r#"text "minimal ok""#],
        stop_reason: "end_turn",
        usage: [500, 0, 0, 2, 0],
    },
    Golden {
        file: "vllm",
        profile: ProfileKind::Custom,
        blocks: &[
            r#"thinking "I should look." {"k":"t","m":"gpt-5.5"}"#,
            r#"tool_use chatcmpl-tool-0a1b Read {"file_path": "/a"}"#,
        ],
        stop_reason: "tool_use",
        usage: [20, 16, 64, 20, 9],
    },
    Golden {
        file: "vllm_cut",
        profile: ProfileKind::Custom,
        blocks: &[r#"thinking "I should look." {"k":"t","m":"gpt-5.5"}"#, r#"text "\n\nHello wor""#],
        stop_reason: "max_tokens",
        usage: [100, 0, 0, 16, 0],
    },
    Golden {
        file: "llama_cpp",
        profile: ProfileKind::Custom,
        blocks: &[
            r#"thinking "Let me think." {"k":"t","m":"gpt-5.5"}"#,
            r#"text "I look twice.""#,
            r#"tool_use call_L1 Read {"file_path":"/a"}"#,
            r#"tool_use call_L2 Read {"file_path":"/b"}"#,
        ],
        stop_reason: "tool_use",
        usage: [40, 0, 10, 12, 0],
    },
    Golden {
        file: "litellm_passed_on",
        profile: ProfileKind::Custom,
        blocks: &[
            r#"thinking "Let me think." {"k":"t","m":"gpt-5.5"}"#,
            r#"text "I look twice.""#,
            r#"tool_use call_L1 Read {"file_path":"/a"}"#,
            r#"tool_use call_L2 Read {"file_path":"/b"}"#,
        ],
        stop_reason: "tool_use",
        usage: [40, 0, 10, 12, 0],
    },
    Golden {
        file: "transformers",
        profile: ProfileKind::Custom,
        blocks: &[
            r#"thinking "Which file?" {"k":"t","m":"gpt-5.5"}"#,
            r#"text "\n\nI will read it.""#,
            r#"tool_use 3f2a_tool_call_0 Read {"file_path": "/t"}"#,
        ],
        stop_reason: "tool_use",
        usage: [30, 0, 0, 8, 0],
    },
    Golden {
        file: "transformers_call_only",
        profile: ProfileKind::Custom,
        blocks: &[r#"tool_use 3f2a_tool_call_0 Read {"file_path": "/t"}"#],
        stop_reason: "tool_use",
        usage: [30, 0, 0, 8, 0],
    },
    Golden {
        file: "litellm_chat",
        profile: ProfileKind::Custom,
        blocks: &[
            r#"thinking "Hmm, a greeting." {"k":"t","m":"gpt-5.5"}"#,
            r#"text "Hello.""#,
            r#"tool_use Zx81kQ Bash {"command":"ls"}"#,
        ],
        stop_reason: "tool_use",
        usage: [40, 0, 0, 10, 4],
    },
];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/streams/{}.sse"), name)).unwrap()
}

fn counters(transcript: &Transcript) -> [u64; 5] {
    let usage = transcript.usage();
    let counters = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
    let [input, written, read, output] = counters.map(|counter| usage[counter].as_u64().unwrap());
    [input, written, read, output, usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap()]
}

#[test]
fn every_server_s_stream_becomes_the_same_message_in_any_chunks() {
    for golden in GOLDEN {
        let bytes = fixture(golden.file);
        let (first, step) = run(context(golden.profile), &bytes, bytes.len());
        assert_eq!(step, Step::Finished, "{}", golden.file);
        assert_eq!(first.blocks, golden.blocks, "{}", golden.file);
        assert_eq!(first.stop_reason(), golden.stop_reason, "{}", golden.file);
        assert_eq!(counters(&first), golden.usage, "{}", golden.file);
        assert_eq!(first.start["model"], "anthropic/gpt-5.5");
        assert!(first.stopped);
        for size in [1, 2, 3, 7, 64] {
            let (again, step) = run(context(golden.profile), &bytes, size);
            assert_eq!((again, step), (first.clone(), Step::Finished), "{} in chunks of {size}", golden.file);
        }
    }
}

#[test]
fn every_stream_reads_the_same_with_other_line_ends() {
    for golden in GOLDEN {
        let text = String::from_utf8(fixture(golden.file)).unwrap();
        for ends in ["\r\n", "\r"] {
            let (transcript, step) = run(context(golden.profile), text.replace('\n', ends).as_bytes(), 5);
            assert_eq!(step, Step::Finished);
            assert_eq!(transcript.blocks, golden.blocks, "{} with {ends:?}", golden.file);
        }
    }
}

#[test]
fn r_x1_a_stream_cut_at_any_event_fails_and_never_ends_cleanly() {
    for golden in GOLDEN {
        let text = String::from_utf8(fixture(golden.file)).unwrap();
        let terminal = text.find("response.completed").or_else(|| text.find("response.incomplete")).unwrap();
        let (full, _) = run(context(golden.profile), text.as_bytes(), text.len());
        let cuts = text.match_indices("\n\n").map(|(at, _)| at + 2).filter(|at| *at <= terminal);
        for cut in cuts {
            let (transcript, step) = run(context(golden.profile), &text.as_bytes()[..cut], 64);
            assert_eq!(step, Step::Failed(Failure::Cut), "{} cut at {cut}", golden.file);
            assert!(!transcript.stopped && transcript.end.is_null());
            for (cut, full) in transcript.blocks.iter().zip(&full.blocks) {
                let begun = cut.trim_end_matches(" …").trim_end_matches(['"', ' ']);
                assert!(full.starts_with(begun), "{cut} is a beginning of {full}");
            }
        }
    }
}

#[test]
fn section_2_12_an_unstreamed_message_has_the_blocks_of_the_stream() {
    for golden in GOLDEN {
        let message = whole(context(golden.profile), &fixture(golden.file)).unwrap();
        let kinds: Vec<&str> =
            message["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
        let wanted: Vec<&str> = golden.blocks.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, wanted, "{}", golden.file);
        assert_eq!(message["stop_reason"], golden.stop_reason);
        assert_eq!(message["usage"]["input_tokens"], golden.usage[0]);
        for (block, line) in message["content"].as_array().unwrap().iter().zip(golden.blocks) {
            match block["type"].as_str().unwrap() {
                "text" => assert_eq!(format!("text {}", block["text"]), *line),
                "thinking" => assert!(line.starts_with(&format!("thinking {}", block["thinking"])), "{line}"),
                "tool_use" => {
                    let input: serde_json::Value = serde_json::from_str(line.splitn(4, ' ').nth(3).unwrap()).unwrap();
                    assert_eq!(block["input"], input);
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn r_h1_failures_before_any_output_are_held() {
    for (file, code) in [("codex_failed_slow_down", "slow_down"), ("codex_error_event", "server_error")] {
        let (transcript, step) = run(context(ProfileKind::Codex), &fixture(file), 7);
        assert!(transcript.frames.is_empty(), "{file}");
        let Step::Failed(Failure::Reported { event }) = step else { panic!("{file}: {step:?}") };
        assert!(event.contains(code));
    }
}

#[test]
fn r_x1_a_cut_in_text_leaves_the_block_open() {
    let (transcript, step) = run(context(ProfileKind::Codex), &fixture("codex_cut_mid_text"), 64);
    assert_eq!(step, Step::Failed(Failure::Cut));
    assert_eq!(transcript.blocks.last().unwrap(), "text \"Partial\" …");
}
