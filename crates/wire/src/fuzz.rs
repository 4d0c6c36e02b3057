//! One entry for fuzzers over everything here that reads foreign bytes.

use crate::{
    Limits, SeriesCache, TextStream, Traces, parse_expvar, parse_heap_text, parse_traces,
    parse_with_cache, read_series_json,
};

/// Reads `body` every way this crate can, and checks what must hold whatever the bytes are.
///
/// # Panics
/// If an invariant does not hold: then there is a defect here.
pub fn fuzz_one(body: &[u8]) {
    let limits = Limits {
        body_bytes_max: 1 << 20,
        samples_max: 10_000,
        ..Limits::default()
    };
    for content_type in [None, Some("application/openmetrics-text; version=1.0.0")] {
        let mut cache = SeriesCache::new(64 << 10);
        let first = parse_with_cache(content_type, body, &limits, &mut cache);
        let again = parse_with_cache(content_type, body, &limits, &mut cache);
        match (first, again) {
            // NaN differs from itself, so the debug text is compared.
            (Ok(first), Ok(again)) => assert_eq!(format!("{first:?}"), format!("{again:?}")),
            (Err(first), Err(again)) => assert_eq!(first.to_string(), again.to_string()),
            (first, again) => panic!("the cache changed the outcome: {first:?} and {again:?}"),
        }
    }
    let _ = (parse_expvar(body, &limits), parse_heap_text(body, &limits));
    let mut read = [0_usize; 2];
    let mut stream = TextStream::default();
    let (begin, end) = body.split_at(body.len() / 2);
    let begun = stream.feed(begin, &mut |_| read[0] += 1);
    let _ = begun.and_then(|()| stream.feed(end, &mut |_| read[0] += 1));
    let _ = read_series_json(body, &mut |_| read[1] += 1);
    assert!(
        read.iter().all(|read| *read <= body.len()),
        "samples of nothing"
    );
    parse_traces(body, &limits, &mut Traces::default());
}
