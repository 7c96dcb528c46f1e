//! The `claude` program itself: its environment, its arguments and the lines it prints.
//!
//! Pure values only; whoever starts processes reads them from here.
