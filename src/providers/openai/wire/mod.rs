//! The Responses API on the wire: [`request`] is what we send, [`events`] what comes back.

pub mod events;
pub mod request;
