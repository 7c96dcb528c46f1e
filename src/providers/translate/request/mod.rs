//! Messages request to Responses body (WIRE.md §1).
