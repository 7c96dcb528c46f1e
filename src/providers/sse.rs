//! Server-sent events: the splitter for what comes, pure and incremental (WIRE.md §2.1).
