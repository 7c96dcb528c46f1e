//! Chunks and cuts: where the network divides a stream, or ends it, is nothing that a client may notice or suffer from.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::properties::{interleaved, planned, profiles};
use super::transcript::Transcript;
use super::{context, feed, run, run_chunks, sse, whole};
use crate::providers::anthropic::events::EventWriter;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::response::{Reply, Step};

/// Every stream that was recorded of a real server, failures too.
fn recordings() -> Vec<PathBuf> {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    let folders = ["streams", "codex/sse"].map(|folder| fixtures.join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the fixtures are there"));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The bytes of a recorded stream or of one that nobody recorded.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let recorded = select(recordings()).prop_map(|path| fs::read(path).expect("a file"));
    let generated = (vec(planned(), 1..5), vec(any::<Index>(), 1..20))
        .prop_map(|(plans, choices)| sse(&interleaved(&plans, &choices)));
    prop_oneof![recorded, generated]
}

/// `bytes` divided at these places.
fn divided<'b>(bytes: &'b [u8], places: &[Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// The stream up to the cut, with what the gateway writes when it has begun to answer already.
fn cut_off(profile: ProfileKind, bytes: &[u8]) -> (Transcript, Step) {
    let mut reply = Reply::new(context(profile), "req_test");
    let (mut written, step) = feed(&mut reply, [bytes]);
    if let (Step::Failed(_), true) = (&step, reply.committed()) {
        let mut out = EventWriter::stream();
        reply.fail(&reply.cut_error(), &mut out);
        written.extend_from_slice(&out.take_bytes());
    }
    (Transcript::read(&written), step)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_division_into_chunks_gives_the_same_events(
        bytes in stream(), places in vec(any::<Index>(), 0..40), profile in profiles(),
    ) {
        let once = run(context(profile), &bytes, bytes.len());
        prop_assert_eq!(run_chunks(context(profile), divided(&bytes, &places)), once);
    }

    #[test]
    fn any_truncation_gives_a_well_formed_stream_or_an_error(
        bytes in stream(), place in any::<Index>(), profile in profiles(),
    ) {
        let bytes = &bytes[..place.index(bytes.len() + 1)];
        // The transcript's reader refuses what is not well-formed.
        let (transcript, step) = cut_off(profile, bytes);
        let begun = !transcript.frames.is_empty();
        match step {
            Step::Finished => prop_assert!(transcript.stopped && transcript.error.is_none()),
            Step::Failed(_) => prop_assert!(!transcript.stopped && transcript.error.is_some() == begun),
            Step::Held | Step::Flowing => prop_assert!(false, "the end of the bytes is no end: {step:?}"),
        }
        prop_assert_eq!(whole(context(profile), bytes).is_some(), transcript.stopped);
    }
}
