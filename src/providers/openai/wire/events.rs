//! The events of a Responses stream.
