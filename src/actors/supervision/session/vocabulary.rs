//! What goes into a session's core and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::budget::Limits;
use super::super::vocabulary::{ReleaseCause, TimerId};
use crate::ids::Fingerprint;

/// One turn of this session; numbered by the core, never twice the same in one life of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId(pub u64);

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The configured prompt: its text, and the digest by which it is recognised.
#[derive(Clone, PartialEq, Eq)]
pub struct Prompt {
    pub text: Arc<str>,
    pub digest: Fingerprint,
}

/// Never the text: prompts appear in transcripts only.
impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prompt").field(&self.digest).finish()
    }
}

/// What the config says of the session now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Absent while its file cannot be read.
    pub prompt: Option<Prompt>,
    /// `start = "auto"`.
    pub is_auto: bool,
    /// `restart = "on-failure"`.
    pub is_retried: bool,
    /// Whether its backend is.
    pub is_enabled: bool,
    /// Of the session's settings and its prompt.
    pub fingerprint: Fingerprint,
    pub limits: Limits,
}

/// One prompt that runs or waits.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    pub turn: TurnId,
    pub text: Arc<str>,
    /// Of the configured prompt; absent for a prompt that came with `claudette turn`.
    pub digest: Option<Fingerprint>,
    /// By `claudette turn`: somebody may be watching, and it is not tried again.
    pub is_asked: bool,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turn, text: _, digest, is_asked } = self;
        f.debug_struct("Job").field("turn", turn).field("digest", digest).field("is_asked", is_asked).finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A revision, or new content of the prompt's file.
    Planned(Plan),
    /// `claudette turn`; without a prompt the configured one is meant.
    Asked { turn: TurnId, prompt: Option<Arc<str>> },
    /// Whoever asked for the turn wants it to end.
    Interrupted { turn: TurnId },
    /// What an [`Action::Start`] came to.
    Ended { turn: TurnId, end: TurnEnd },
    /// The delay of an [`Action::Arm`] is over.
    Timer(TimerId),
    /// SIGHUP.
    Release,
    /// The service is stopping: the running turn may go on, nothing new starts.
    Drain,
    /// The session was taken out of the config, or the service's deadline is over.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// `claude` printed a result before it exited, good or bad.
    Result,
    NoResult(Failure),
}

/// Why a turn ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// `claude` could not be started.
    NotStarted,
    /// No gateway could be had for it.
    NoGateway,
    /// `claude` exited, or was ended, before it printed a result.
    NoResult,
    /// It ran into `turn_timeout` and printed no result when told to stop.
    TimedOut,
    /// `claude` does not find the conversation that the turn belongs to.
    ConversationLost,
}

impl Failure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::NoGateway => "no_gateway",
            Self::NoResult => "no_result",
            Self::TimedOut => "timed_out",
            Self::ConversationLost => "conversation_lost",
        }
    }

    /// What to do about a loop of them.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NotStarted => "look at [claude] bin and at the session's cwd",
            Self::NoGateway => "look at the gateway.* lines of its backend",
            Self::NoResult => "look at what claude wrote to stderr, in the session.exited lines before this one",
            Self::TimedOut => "raise turn_timeout, or ask for less in one prompt",
            Self::ConversationLost => "something deletes claude's own transcripts: look at config_dir",
        }
    }
}

/// Why an asked turn does not run, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    BackendDisabled,
    Quarantined(Reason),
    NoPrompt,
    /// A newer prompt took its place.
    Replaced,
    Interrupted,
    Stopping,
}

/// What quarantined the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub attempts: u32,
    pub last: Failure,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, last } = self;
        write!(f, "its prompt was tried {attempts} times without a result, last: {}", last.as_str())
    }
}

/// What the SessionActor has to do, in this order. Every `Start` is followed by exactly one [`Event::Ended`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    Start {
        job: Job,
        /// From 1.
        attempt: u32,
    },
    /// Down the ladder of DESIGN.md §2, from the interrupt to SIGKILL.
    Interrupt {
        turn: TurnId,
    },
    Deny {
        turn: TurnId,
        denial: Denial,
    },
    /// The configured prompt with this digest is done, good or bad: a restarted service does not run it again.
    Remember {
        digest: Fingerprint,
    },
    Arm {
        timer: TimerId,
        delay: Duration,
    },
    Log(Note),
    /// Nothing runs and nothing will.
    Finish,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    RestartScheduled {
        cause: Failure,
        attempt: u32,
        delay: Duration,
    },
    /// The causes of the loop, oldest first.
    RestartLoop {
        causes: Vec<Failure>,
    },
    Quarantined {
        reason: Reason,
    },
    Released {
        cause: ReleaseCause,
    },
}

/// As `status` names it (DESIGN.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Idle,
    Running,
    BackingOff,
    Quarantined,
    Stopping,
    Blocked,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::Quarantined => "quarantined",
            Self::Stopping => "stopping",
            Self::Blocked => "blocked",
        }
    }
}
