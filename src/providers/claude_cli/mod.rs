//! The `claude` program: its arguments and its environment.
