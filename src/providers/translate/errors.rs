//! What went wrong upstream, and what `claude` is told about it (WIRE.md §3).
