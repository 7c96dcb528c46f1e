//! Responses stream to Anthropic events (WIRE.md §2).
