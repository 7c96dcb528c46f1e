//! A panic as one event instead of a report on stderr: which thread, where, and what it said if that is safe to say.

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::thread;

/// Reports every panic of the process from now on, in place of the standard report and its backtrace.
pub(super) fn report() {
    panic::set_hook(Box::new(log_panic));
}

pub(super) fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let location = panic.location().map(tracing::field::display);
    tracing::error!(
        event = "process.panicked",
        thread = thread.name().unwrap_or("unnamed"),
        location,
        panic = literal(panic.payload()),
        "a thread panicked"
    );
}

/// The panic's words if they were written into the program. A message put together at run time may quote a credential
/// or a prompt, and nothing tells whether it does.
fn literal(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}
