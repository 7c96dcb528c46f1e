//! What the benchmarks send: requests as `claude` makes them and streams as an upstream answers, made the same on every
//! run from one recorded request in `tests/fixtures`. Knows nothing of what is measured with it.

pub mod requests;
#[allow(dead_code, reason = "each benchmark plays other streams")]
pub mod streams;
