//! The SSE reader: whatever comes, and however it is cut into chunks, the events are the same.
#![no_main]

use claudette::providers::sse::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&size, stream)) = input.split_first() else { return };
    let whole = events(stream.chunks(stream.len().max(1)));
    assert_eq!(whole, events(stream.chunks(1)));
    assert_eq!(whole, events(stream.chunks(usize::from(size).max(1))));
});

/// Name, data, and whether it repeats the one before.
type Seen = (String, Vec<u8>, bool);

fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut reader, mut seen) = (Reader::new(), Vec::new());
    for chunk in chunks {
        reader.feed(chunk);
        while let Some(event) = reader.next_event() {
            let event = event.expect("an input of a fuzzer is far below the limit");
            seen.push((event.name.to_owned(), event.data.to_vec(), event.repeated));
        }
    }
    if let Some(event) = reader.finish() {
        let event = event.expect("an input of a fuzzer is far below the limit");
        seen.push((event.name.to_owned(), event.data.to_vec(), event.repeated));
    }
    seen
}
