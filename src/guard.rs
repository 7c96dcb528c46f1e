//! The process between a session's `claude` and the service, so that nothing survives either of them.
//!
//! `claude` puts each of its Bash tools into a session of its own: neither a process group nor the death signal of a
//! parent reaches them. The guard is this same binary. Its stdin is one end of a socket whose other end the service
//! alone holds: an order to signal `claude` comes through it, and its end means that the service is gone, however it
//! died. `claude` gets the service's pipes themselves, its stdin as a descriptor sent through that socket.
//!
//! On Linux the guard is a subreaper: whatever `claude` started stays below it in the process tree, and every
//! descendant is ended when `claude` exits or the service does. Elsewhere (macOS) there is no such thing: what gets
//! ended is `claude`'s process group, and a tool that left it survives.

mod tree;

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// The hidden command that runs [`run`].
pub const COMMAND: &str = "guard";

/// The guard's exit code if it could not start `claude`; [`Line::failure`] then has the reason.
const NOT_STARTED: u8 = 127;

/// What the service tells the guard, one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGINT for `claude`.
    Interrupt,
    /// SIGTERM for `claude`.
    Terminate,
    /// SIGKILL for `claude` and every descendant.
    Kill,
}

impl Order {
    fn byte(self) -> u8 {
        match self {
            Self::Interrupt => b'i',
            Self::Terminate => b't',
            Self::Kill => b'k',
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Interrupt, Self::Terminate, Self::Kill].into_iter().find(|order| order.byte() == byte)
    }
}

/// The service's end. When it is dropped, or its process dies, the guard ends everything below it.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// A line to a guard that is yet to be started, which will find `claude_stdin` in it; and the guard's own stdin.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn open(claude_stdin: impl AsFd) -> io::Result<(Self, OwnedFd)> {
        let (ours, guards) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [claude_stdin.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&ours, &[IoSlice::new(b"s")], &mut control, SendFlags::empty())?;
        Ok((Self(ours), guards.into()))
    }

    /// A guard that has ended meanwhile hears nothing; its end is on the way then.
    pub fn order(&self, order: Order) {
        let _ = (&self.0).write(&[order.byte()]);
    }

    /// Why the guard, which has ended, could not start `claude`.
    pub fn failure(&self) -> Option<String> {
        let mut reason = Vec::new();
        let _ = (&self.0).take(4096).read_to_end(&mut reason);
        (!reason.is_empty()).then(|| String::from_utf8_lossy(&reason).into_owned())
    }
}

/// The guard of `program`, to be started with [`Line::open`]'s descriptor as its stdin. It is in a process group of its
/// own: what the service's terminal sends does not reach it.
///
/// # Errors
/// This program's own path is not known.
pub fn command(program: &OsStr, arguments: &[String]) -> io::Result<Command> {
    // By this name the running binary is found even after an upgrade has replaced its file.
    let ourselves = match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => std::env::current_exe()?,
    };
    let mut command = Command::new(ourselves);
    command.arg0("claudette").args([COMMAND, "--"]).arg(program).args(arguments).process_group(0);
    Ok(command)
}

/// Is the guard, until `claude` and everything below it have ended: its exit code is `claude`'s, or 128 + n.
pub fn run(command: &[OsString]) -> u8 {
    match guard(command) {
        Ok(code) => code,
        Err(error) => {
            // For the service; a person who runs this by hand has no socket there and reads it on stderr.
            let reason = error.to_string();
            if rustix::io::write(io::stdin(), reason.as_bytes()).is_err() {
                eprintln!("claudette guard: {reason}");
            }
            NOT_STARTED
        }
    }
}

fn guard(command: &[OsString]) -> io::Result<u8> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::other("no program to run"));
    };
    // A service manager may send these to everything that belongs to the service: the service decides what they mean.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let (child_ended, for_handler) = UnixStream::pair()?;
    child_ended.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, for_handler)?;
    tree::adopt_orphans()?;
    let claude = Command::new(program).args(arguments).stdin(received_stdin()?).process_group(0).spawn();
    let claude = claude.map_err(|error| io::Error::other(format!("cannot run {}: {error}", program.display())))?;
    let claude = i32::try_from(claude.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let status = watch(claude, &child_ended)?;
    tree::end_all(claude);
    Ok(status.map_or(128 + 9, exit_code))
}

fn received_stdin() -> io::Result<Stdio> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty())?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.next().and_then(|mut descriptors| descriptors.next());
    let descriptor = descriptor.ok_or_else(|| io::Error::other("the service sent no stdin for claude"))?;
    // Not in `recvmsg`, for macOS has no such flag there; nothing is started in between.
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Stdio::from(descriptor))
}

/// Carries orders out until `claude` has ended (its status) or is to be ended at once (none).
fn watch(claude: Pid, child_ended: &UnixStream) -> io::Result<Option<WaitStatus>> {
    let service = io::stdin();
    loop {
        let mut watched = [PollFd::new(&service, PollFlags::IN), PollFd::new(child_ended, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_told = !watched[0].revents().is_empty();
        let _ = (&*child_ended).read(&mut [0; 64]);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == claude {
                return Ok(Some(status));
            }
        }
        if is_told && obey(claude) == Guarding::Over {
            return Ok(None);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Guarding {
    On,
    Over,
}

/// Reads one order. No other thread reaps, so `claude`'s pid is still its own.
fn obey(claude: Pid) -> Guarding {
    let mut byte = [0];
    let order = match rustix::io::read(io::stdin(), &mut byte) {
        Ok(1) => Order::from_byte(byte[0]),
        Err(Errno::INTR) => None,
        Ok(_) | Err(_) => return Guarding::Over,
    };
    match order {
        Some(Order::Interrupt) => drop(kill_process(claude, Signal::INT)),
        Some(Order::Terminate) => drop(kill_process(claude, Signal::TERM)),
        Some(Order::Kill) => return Guarding::Over,
        None => {}
    }
    Guarding::On
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
