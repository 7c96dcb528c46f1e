//! Counts tokens with a real tokenizer, on a thread that exists only while it is wanted.
//!
//! The tables take 160 ms to load and some 50 MB to keep (WIRE.md §4), so they belong to a thread that the first count
//! starts and that ends, tables and all, after ten minutes without one. The handlers' threads only wait for a number.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tiktoken_rs::CoreBPE;
use tokio::sync::oneshot;

use crate::providers::translate::count::{Encoding, count};

/// How long the tables are kept without a count.
const KEPT: Duration = Duration::from_secs(600);
/// Bytes of text that are read as one. Longer texts are cut: a token more at a cut is nothing, and no text of whatever
/// shape can exhaust the tokenizer's patience.
const PIECE: usize = 64 * 1024;
/// Of a body that could not be counted.
const BYTES_PER_TOKEN: usize = 4;

/// The way to the one counting thread; clones lead to the same.
#[derive(Clone, Default)]
pub struct Tokenizer {
    thread: Arc<Mutex<Option<Sender<Job>>>>,
}

struct Job {
    body: Bytes,
    encoding: Encoding,
    answer: oneshot::Sender<u64>,
}

impl Tokenizer {
    /// The tokens of a Responses body; an estimate by its size if the thread cannot be had.
    pub async fn count(&self, body: &Bytes, encoding: Encoding) -> u64 {
        // A thread may end at the very moment in which it is asked, so its silence is asked about once more.
        for _ in 0..2 {
            let (answer, counted) = oneshot::channel();
            self.hand_over(Job { body: body.clone(), encoding, answer });
            if let Ok(tokens) = counted.await {
                return tokens;
            }
        }
        (body.len() / BYTES_PER_TOKEN) as u64
    }

    fn hand_over(&self, job: Job) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match thread.as_ref() {
            None => job,
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return,
                Err(mpsc::SendError(job)) => job,
            },
        };
        let (jobs, waiting) = mpsc::channel();
        // Without a thread the job is dropped, which its asker notices.
        if jobs.send(job).is_ok() && thread::Builder::new().name("tokenizer".into()).spawn(|| run(waiting)).is_ok() {
            *thread = Some(jobs);
        }
    }
}

/// The tables that were wanted so far.
#[derive(Default)]
struct Tables {
    o200k: Option<CoreBPE>,
    cl100k: Option<CoreBPE>,
}

fn run(jobs: Receiver<Job>) {
    let mut tables = Tables::default();
    while let Ok(job) = jobs.recv_timeout(KEPT) {
        // A client that went away needs no count.
        if !job.answer.is_closed() {
            let _ = job.answer.send(tables.count(&job.body, job.encoding));
        }
    }
}

impl Tables {
    fn count(&mut self, body: &[u8], encoding: Encoding) -> u64 {
        let (table, load): (_, fn() -> _) = match encoding {
            Encoding::O200k => (&mut self.o200k, tiktoken_rs::o200k_base),
            Encoding::Cl100k => (&mut self.cl100k, tiktoken_rs::cl100k_base),
        };
        if table.is_none() {
            *table = load().ok();
        }
        match table {
            Some(table) => count(body, &|text| pieces(text).map(|piece| table.count_ordinary(piece)).sum()),
            // The tables are part of the program; without them a text counts by its size.
            None => count(body, &|text| text.len() / BYTES_PER_TOKEN),
        }
    }
}

/// The text in pieces of at most [`PIECE`] bytes.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Bytes {
        let part = serde_json::json!({"type": "input_text", "text": text});
        serde_json::json!({"input": [{"type": "message", "role": "user", "content": [part]}]}).to_string().into()
    }

    #[actix_rt::test]
    async fn both_tables_count_what_is_known_of_them() {
        let tokenizer = Tokenizer::default();
        // One item and the request cost seven.
        for (encoding, text, tokens) in [
            (Encoding::O200k, "hello world", 2),
            (Encoding::Cl100k, "hello world", 2),
            (Encoding::O200k, "<|endoftext|> is no more than its letters", 13),
            (Encoding::O200k, "", 0),
        ] {
            assert_eq!(tokenizer.count(&body(text), encoding).await, 7 + tokens, "{encoding:?} {text}");
        }
    }

    #[actix_rt::test]
    async fn no_text_is_too_strange_to_be_counted() {
        let tokenizer = Tokenizer::default();
        for text in [" ".repeat(300_000), "\n".repeat(300_000) + "x", "a".repeat(300_000), "é😀".repeat(50_000)] {
            assert!(tokenizer.count(&body(&text), Encoding::O200k).await > 100);
        }
    }

    #[test]
    fn pieces_are_cut_between_characters_and_lose_nothing() {
        for text in ["", "short", &"é".repeat(PIECE), &format!("x{}", "😀".repeat(PIECE / 2))] {
            assert_eq!(pieces(text).collect::<String>(), text);
            assert!(pieces(text).all(|piece| piece.len() <= PIECE));
        }
    }
}
