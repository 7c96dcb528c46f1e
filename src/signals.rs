//! Signals as messages: SIGHUP reloads, SIGTERM and SIGINT stop, SIGUSR1 asks for a status in the log.
//!
//! The first request to stop arrives as a message like the others. The second one ends the process inside the signal
//! handler, so that it works even when the loop that reads the messages is stuck.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{SigId, flag, low_level};
use signal_hook_tokio::Signals;

use crate::actors::messages::Signal;

/// The signals that ask the service to stop.
const STOP: [i32; 2] = [SIGTERM, SIGINT];

fn meaning(number: i32) -> Option<Signal> {
    match number {
        SIGHUP => Some(Signal::Reload),
        SIGTERM | SIGINT => Some(Signal::Stop),
        SIGUSR1 => Some(Signal::Status),
        _ => None,
    }
}

/// Ends the listening: the stream finishes and a stop signal no longer ends the process. Nor do signals regain their
/// usual meaning, they are ignored from then on. Dropping the handle does the same.
#[derive(Debug)]
pub struct Handle {
    stream: signal_hook_tokio::Handle,
    exits: Vec<SigId>,
}

impl Handle {
    pub fn close(self) {}
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stream.close();
        for &exit in &self.exits {
            low_level::unregister(exit);
        }
    }
}

/// Listens from now on. Needs a tokio runtime. Exit status of a process ended by its second stop signal: 128 + its number.
///
/// # Errors
/// The system refuses a handler or the pipe behind the stream.
pub fn listen() -> io::Result<(impl Stream<Item = Signal> + Send + Unpin, Handle)> {
    let signals = Signals::new([SIGHUP, SIGUSR1].into_iter().chain(STOP))?;
    let mut handle = Handle { stream: signals.handle(), exits: Vec::with_capacity(2 * STOP.len()) };
    exit_on_second_stop(&mut handle.exits)?;
    Ok((signals.filter_map(|number| std::future::ready(meaning(number))), handle))
}

/// Handlers of one signal run in the order of registration: the exit is looked at before the same signal arms it.
fn exit_on_second_stop(exits: &mut Vec<SigId>) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in STOP {
        exits.push(flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stopping))?);
        exits.push(flag::register(signal, Arc::clone(&stopping))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;
    use crate::own_process;

    fn in_runtime(work: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    }

    #[test]
    fn each_signal_arrives_as_what_it_asks_for() {
        if own_process::case().is_some() {
            return in_runtime(async {
                let (mut signals, handle) = listen().unwrap();
                for (number, expected) in [(SIGHUP, Signal::Reload), (SIGUSR1, Signal::Status), (SIGTERM, Signal::Stop)]
                {
                    raise(number).unwrap();
                    assert_eq!(signals.next().await, Some(expected));
                }
                handle.close();
                assert_eq!(signals.next().await, None);
            });
        }
        let output = own_process::run("signals::tests::each_signal_arrives_as_what_it_asks_for", "all");
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    fn the_second_stop_ends_a_process_that_never_looks_at_its_messages() {
        let numbers = |case: &str| match case {
            "term-term" => (SIGTERM, SIGTERM),
            "int-term" => (SIGINT, SIGTERM),
            _ => (SIGTERM, SIGINT),
        };
        if let Some(case) = own_process::case() {
            return in_runtime(async {
                let _listening = listen().unwrap();
                let (first, second) = numbers(&case);
                raise(first).unwrap();
                println!("one survived");
                raise(second).unwrap();
                println!("two survived");
            });
        }
        for case in ["term-term", "int-term", "term-int"] {
            let output = own_process::run(
                "signals::tests::the_second_stop_ends_a_process_that_never_looks_at_its_messages",
                case,
            );
            assert_eq!(output.status.code(), Some(128 + numbers(case).1), "{case}: {output:?}");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("one survived") && !said.contains("two survived"), "{case}: {said}");
        }
    }
}
