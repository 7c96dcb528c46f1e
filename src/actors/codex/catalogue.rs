//! Finds a codex backend's model list, in the order of CODEX.md §2.
