//! The body of `POST /responses`.
