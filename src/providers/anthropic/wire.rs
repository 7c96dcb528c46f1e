//! The body of `POST /v1/messages`, borrowed from the bytes that came.
