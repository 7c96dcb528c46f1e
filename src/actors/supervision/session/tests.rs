//! Every state and event of a session's core as stories, and any sequence of events.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::actors::supervision::budget::Limits;

const SECOND: Duration = Duration::from_secs(1);
const INTENSITY: usize = 2;

/// A core and what it last decided, with a clock of its own.
struct Story {
    life: SessionLife,
    now: Instant,
    actions: Vec<Action>,
}

fn digest(name: &str) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Fingerprint(bytes)
}

fn plan(prompt: &str) -> Plan {
    Plan {
        prompt: Some(Prompt { text: prompt.into(), digest: digest(prompt) }),
        is_auto: true,
        is_retried: true,
        is_enabled: true,
        fingerprint: digest(prompt),
        limits: Limits { intensity: INTENSITY, period: 60 * SECOND, backoff_initial: SECOND, backoff_max: 30 * SECOND },
    }
}

fn disabled(prompt: &str) -> Plan {
    Plan { is_enabled: false, ..plan(prompt) }
}

impl Story {
    fn new(finished: Option<&str>) -> Self {
        Self { life: SessionLife::new(finished.map(digest)), now: Instant::now(), actions: Vec::new() }
    }

    /// A session whose first turn runs.
    fn running(prompt: &str) -> Self {
        let mut story = Self::new(None);
        story.on(Event::Planned(plan(prompt)));
        assert_eq!(story.started(), Some((prompt.into(), 1)));
        story
    }

    fn on(&mut self, event: Event) -> &mut Self {
        self.actions = self.life.on(event, self.now);
        self
    }

    fn ask(&mut self, prompt: Option<&str>) -> TurnId {
        let turn = self.life.new_turn();
        self.on(Event::Asked { turn, prompt: prompt.map(Into::into) });
        turn
    }

    fn running_turn(&self) -> TurnId {
        match &self.life.phase {
            Phase::Running { job, .. } => job.turn,
            other => panic!("nothing runs: {other:?}"),
        }
    }

    fn end(&mut self, end: TurnEnd) -> &mut Self {
        let turn = self.running_turn();
        self.on(Event::Ended { turn, end })
    }

    fn fail(&mut self) -> &mut Self {
        self.end(TurnEnd::NoResult(Failure::NoResult))
    }

    fn fire(&mut self) -> &mut Self {
        let timer = self.armed().expect("a timer is armed").0;
        self.on(Event::Timer(timer))
    }

    fn started(&self) -> Option<(String, u32)> {
        self.actions.iter().find_map(|action| match action {
            Action::Start { job, attempt } => Some((job.text.to_string(), *attempt)),
            _ => None,
        })
    }

    fn armed(&self) -> Option<(TimerId, Duration)> {
        self.actions.iter().find_map(|action| match action {
            Action::Arm { timer, delay } => Some((*timer, *delay)),
            _ => None,
        })
    }

    fn denied(&self) -> Option<(TurnId, Denial)> {
        self.actions.iter().find_map(|action| match action {
            Action::Deny { turn, denial } => Some((*turn, denial.clone())),
            _ => None,
        })
    }

    fn remembered(&self) -> Option<Fingerprint> {
        self.actions.iter().find_map(|action| match action {
            Action::Remember { digest } => Some(*digest),
            _ => None,
        })
    }

    fn has(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    fn quarantined(prompt: &str) -> Self {
        let mut story = Self::running(prompt);
        for _ in 0..INTENSITY {
            story.fail().fire();
        }
        story.fail();
        assert_eq!(story.life.state(), State::Quarantined);
        story
    }
}

#[test]
fn a_turn_starts_when_the_session_first_appears() {
    for (finished, is_auto, expected) in [
        (None, true, Some("a")),
        (Some("a"), true, None),
        // Interrupted, or changed while the service was away.
        (Some("b"), true, Some("a")),
        (None, false, None),
    ] {
        let mut story = Story::new(finished);
        story.on(Event::Planned(Plan { is_auto, ..plan("a") }));
        assert_eq!(story.started().map(|(text, _)| text).as_deref(), expected, "{finished:?} {is_auto}");
    }
}

#[test]
fn a_turn_starts_when_the_prompts_content_changes_and_for_no_other_key() {
    let mut story = Story::running("a");
    story.end(TurnEnd::Result);
    assert_eq!(story.remembered(), Some(digest("a")));
    assert_eq!(story.life.state(), State::Idle);
    story.on(Event::Planned(Plan { fingerprint: digest("other-key"), ..plan("a") }));
    assert_eq!(story.started(), None);
    story.on(Event::Planned(plan("b")));
    assert_eq!(story.started(), Some(("b".into(), 1)));
    story.end(TurnEnd::Result);
    // Back to an earlier one is a change too.
    story.on(Event::Planned(plan("a")));
    assert_eq!(story.started(), Some(("a".into(), 1)));
}

#[test]
fn a_newer_prompt_replaces_a_waiting_one_and_never_the_running_one() {
    let mut story = Story::running("a");
    story.on(Event::Planned(plan("b")));
    assert_eq!(story.actions, [], "one turn at a time");
    story.on(Event::Planned(plan("c")));
    story.end(TurnEnd::Result);
    assert_eq!(story.started(), Some(("c".into(), 1)));
}

#[test]
fn an_edit_that_is_taken_back_before_its_turn_is_no_turn() {
    let mut story = Story::running("a");
    story.on(Event::Planned(plan("b"))).on(Event::Planned(plan("a")));
    story.end(TurnEnd::Result);
    assert_eq!(story.started(), None);
    assert_eq!(story.life.state(), State::Idle);
}

#[test]
fn asked_turns_run_one_after_the_other_and_the_replaced_one_is_told() {
    let mut story = Story::running("a");
    let first = story.ask(Some("x"));
    assert_eq!(story.actions, []);
    let second = story.ask(Some("y"));
    assert_eq!(story.denied(), Some((first, Denial::Replaced)));
    story.end(TurnEnd::Result);
    assert_eq!(story.started(), Some(("y".into(), 1)));
    assert_eq!(story.running_turn(), second);
    story.end(TurnEnd::Result);
    assert_eq!(story.remembered(), None, "only the configured prompt is remembered");
}

#[test]
fn asking_without_a_prompt_runs_the_configured_one_again() {
    let mut story = Story::new(Some("a"));
    story.on(Event::Planned(Plan { is_auto: false, ..plan("a") }));
    story.ask(None);
    assert_eq!(story.started(), Some(("a".into(), 1)));
    story.end(TurnEnd::Result);
    assert_eq!(story.remembered(), Some(digest("a")));
}

#[test]
fn asking_is_denied_where_nothing_can_come_of_it() {
    let mut story = Story::new(None);
    story.on(Event::Planned(Plan { prompt: None, ..plan("a") }));
    let turn = story.ask(None);
    assert_eq!(story.denied(), Some((turn, Denial::NoPrompt)));

    let mut story = Story::new(None);
    story.on(Event::Planned(disabled("a")));
    let turn = story.ask(Some("x"));
    assert_eq!(story.denied(), Some((turn, Denial::BackendDisabled)));

    let mut story = Story::quarantined("a");
    let turn = story.ask(Some("x"));
    let reason = Reason { attempts: 3, last: Failure::NoResult };
    assert_eq!(story.denied(), Some((turn, Denial::Quarantined(reason))));

    let mut story = Story::running("a");
    story.on(Event::Drain);
    let turn = story.ask(Some("x"));
    assert_eq!(story.denied(), Some((turn, Denial::Stopping)));
}

#[test]
fn a_turn_without_a_result_is_tried_again_after_a_backoff_that_doubles() {
    let mut story = Story::running("a");
    story.fail();
    assert_eq!(story.life.state(), State::BackingOff);
    assert_eq!(story.armed().map(|(_, delay)| delay), Some(SECOND));
    assert_eq!(story.remembered(), None);
    story.fire();
    assert_eq!(story.started(), Some(("a".into(), 2)));
    story.fail();
    assert_eq!(story.armed().map(|(_, delay)| delay), Some(2 * SECOND));
    story.fire().end(TurnEnd::Result);
    assert_eq!(story.remembered(), Some(digest("a")));
}

#[test]
fn one_prompt_is_tried_at_most_one_and_intensity_times_however_long_each_takes() {
    let mut story = Story::running("a");
    for _ in 0..INTENSITY {
        story.now += 3600 * SECOND;
        story.fail().fire();
        assert!(story.started().is_some());
    }
    story.now += 3600 * SECOND;
    story.fail();
    assert_eq!(story.life.state(), State::Quarantined);
    let reason = Reason { attempts: 3, last: Failure::NoResult };
    assert!(story.has(&Action::Log(Note::Quarantined { reason })));
    assert!(story.actions.iter().any(|action| matches!(action, Action::Log(Note::RestartLoop { .. }))));
    assert_eq!(story.armed(), None);
}

#[test]
fn what_is_not_retried_is_done_with() {
    let mut story = Story::new(None);
    story.on(Event::Planned(Plan { is_retried: false, ..plan("a") }));
    story.fail();
    assert_eq!((story.life.state(), story.remembered()), (State::Idle, Some(digest("a"))));

    let mut story = Story::new(Some("a"));
    story.on(Event::Planned(plan("a")));
    story.ask(Some("x"));
    story.fail();
    assert_eq!((story.life.state(), story.armed(), story.remembered()), (State::Idle, None, None));
}

#[test]
fn a_newer_prompt_takes_the_place_of_a_retry() {
    let mut story = Story::running("a");
    story.fail();
    let timer = story.armed().unwrap().0;
    story.on(Event::Planned(plan("b")));
    assert_eq!(story.started(), Some(("b".into(), 1)));
    story.on(Event::Timer(timer));
    assert_eq!(story.actions, []);

    let mut story = Story::running("a");
    story.on(Event::Planned(plan("b"))).fail();
    assert_eq!(story.started(), Some(("b".into(), 1)));
}

#[test]
fn quarantine_ends_with_an_untried_fingerprint_or_sighup() {
    let mut story = Story::quarantined("a");
    story.on(Event::Planned(plan("a")));
    assert_eq!((story.life.state(), story.started()), (State::Quarantined, None));
    story.on(Event::Planned(Plan { fingerprint: digest("new-args"), ..plan("a") }));
    assert!(story.has(&Action::Log(Note::Released { cause: ReleaseCause::FingerprintChanged })));
    assert_eq!(story.started(), Some(("a".into(), 1)));

    let mut story = Story::quarantined("a");
    story.on(Event::Planned(plan("b")));
    assert_eq!(story.started(), Some(("b".into(), 1)));

    let mut story = Story::quarantined("a");
    story.on(Event::Release);
    assert!(story.has(&Action::Log(Note::Released { cause: ReleaseCause::Sighup })));
    assert_eq!(story.started(), Some(("a".into(), 1)));
    story.fail();
    assert_eq!(story.life.state(), State::BackingOff, "its memory is empty");
}

#[test]
fn a_disabled_backend_blocks_and_an_enabled_one_starts_what_waits() {
    let mut story = Story::new(None);
    story.on(Event::Planned(disabled("a")));
    assert_eq!((story.life.state(), story.started()), (State::Blocked, None));
    story.on(Event::Planned(plan("a")));
    assert_eq!(story.started(), Some(("a".into(), 1)));
    // The running turn goes on: its generation is leased.
    story.on(Event::Planned(disabled("a")));
    assert_eq!((story.life.state(), story.actions.len()), (State::Running, 0));
    story.fail();
    assert_eq!(story.life.state(), State::Blocked);
    story.fire();
    assert_eq!(story.started(), None);
    story.on(Event::Planned(plan("a")));
    assert_eq!(story.started(), Some(("a".into(), 1)));
}

#[test]
fn an_interrupt_ends_the_running_turn_once_and_its_prompt_is_done_with() {
    for end in [TurnEnd::Result, TurnEnd::NoResult(Failure::NoResult)] {
        let mut story = Story::running("a");
        let turn = story.running_turn();
        story.on(Event::Interrupted { turn });
        assert_eq!(story.actions, [Action::Interrupt { turn }]);
        assert_eq!(story.life.state(), State::Stopping);
        story.on(Event::Interrupted { turn });
        assert_eq!(story.actions, []);
        story.end(end);
        assert_eq!((story.life.state(), story.remembered()), (State::Idle, Some(digest("a"))));
    }
}

#[test]
fn an_interrupt_takes_a_waiting_turn_away_and_ignores_others() {
    let mut story = Story::running("a");
    let waiting = story.ask(Some("x"));
    story.on(Event::Interrupted { turn: TurnId(99) });
    assert_eq!(story.actions, []);
    story.on(Event::Interrupted { turn: waiting });
    assert_eq!(story.denied(), Some((waiting, Denial::Interrupted)));
    story.end(TurnEnd::Result);
    assert_eq!(story.started(), None);
}

#[test]
fn a_drain_lets_the_running_turn_end_and_starts_nothing() {
    let mut story = Story::running("a");
    let waiting = story.ask(Some("x"));
    story.on(Event::Drain);
    assert_eq!(story.actions, [Action::Deny { turn: waiting, denial: Denial::Stopping }]);
    assert_eq!(story.life.state(), State::Stopping);
    story.on(Event::Planned(plan("b")));
    assert_eq!(story.actions, []);
    story.end(TurnEnd::Result);
    assert_eq!(story.actions, [Action::Remember { digest: digest("a") }, Action::Finish]);
}

#[test]
fn a_stopped_turn_is_told_to_end_and_its_prompt_is_still_to_be_done() {
    for end in [TurnEnd::Result, TurnEnd::NoResult(Failure::NoResult)] {
        let mut story = Story::running("a");
        let turn = story.running_turn();
        story.on(Event::Drain).on(Event::Stop);
        assert_eq!(story.actions, [Action::Interrupt { turn }]);
        story.end(end);
        assert_eq!(story.actions, [Action::Finish]);
    }
}

#[test]
fn what_does_not_run_finishes_at_once_and_once() {
    let stories: [fn() -> Story; 3] = [
        || {
            let mut story = Story::running("a");
            story.end(TurnEnd::Result);
            story
        },
        || {
            let mut story = Story::running("a");
            story.fail();
            story
        },
        || Story::quarantined("a"),
    ];
    for story in stories {
        for event in [Event::Drain, Event::Stop] {
            let mut story = story();
            story.on(event);
            assert_eq!(story.actions, [Action::Finish]);
            assert_eq!(story.on(Event::Stop).actions, []);
            assert_eq!(story.on(Event::Release).actions, []);
        }
    }
}

#[test]
fn the_end_of_an_unknown_turn_changes_nothing() {
    let mut story = Story::running("a");
    story.on(Event::Ended { turn: TurnId(99), end: TurnEnd::Result });
    assert_eq!((story.life.state(), story.actions.len()), (State::Running, 0));
}

/// One step of any sequence; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Plan { prompt: u8, is_enabled: bool, is_auto: bool, is_retried: bool },
    Ask { own: bool },
    Interrupt(u64),
    End { result: bool },
    StaleEnd(u64),
    Fire(u64),
    Release,
    Drain,
    Stop,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(prompt, is_enabled, is_auto, is_retried)| Step::Plan { prompt, is_enabled, is_auto, is_retried }),
        3 => any::<bool>().prop_map(|own| Step::Ask { own }),
        2 => (0..20_u64).prop_map(Step::Interrupt),
        6 => any::<bool>().prop_map(|result| Step::End { result }),
        1 => (0..20_u64).prop_map(Step::StaleEnd),
        4 => (0..20_u64).prop_map(Step::Fire),
        1 => Just(Step::Release),
        1 => Just(Step::Wait(61)),
        1 => prop_oneof![9 => Just(Step::Wait(5)), 1 => Just(Step::Drain), 1 => Just(Step::Stop)],
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// One turn at a time; each asked turn runs or is denied, once; nothing starts after the finish; no prompt is tried
    /// more often than allowed.
    #[test]
    fn any_sequence_of_events_keeps_the_rules(steps in steps()) {
        let mut story = Story::new(None);
        let mut running: Option<TurnId> = None;
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        let mut is_finished = false;
        for step in steps {
            let event = match step {
                Step::Plan { prompt, is_enabled, is_auto, is_retried } => {
                    let plan = plan(["a", "b", "c", "d"][usize::from(prompt)]);
                    Event::Planned(Plan { is_enabled, is_auto, is_retried, ..plan })
                }
                Step::Ask { own } => {
                    let turn = story.life.new_turn();
                    asked.push(turn);
                    Event::Asked { turn, prompt: own.then(|| "own".into()) }
                }
                Step::Interrupt(turn) => Event::Interrupted { turn: TurnId(turn) },
                Step::End { result } => match running.take() {
                    None => continue,
                    Some(turn) => {
                        let end = if result { TurnEnd::Result } else { TurnEnd::NoResult(Failure::NoResult) };
                        Event::Ended { turn, end }
                    }
                },
                Step::StaleEnd(turn) if running == Some(TurnId(turn)) => continue,
                Step::StaleEnd(turn) => Event::Ended { turn: TurnId(turn), end: TurnEnd::Result },
                Step::Fire(timer) => Event::Timer(TimerId(timer)),
                Step::Release => Event::Release,
                Step::Drain => Event::Drain,
                Step::Stop => Event::Stop,
                Step::Wait(seconds) => {
                    story.now += Duration::from_secs(seconds);
                    continue;
                }
            };
            story.on(event);
            for action in &story.actions {
                match action {
                    Action::Start { job, attempt } => {
                        prop_assert!(running.is_none() && !is_finished);
                        prop_assert!(usize::try_from(*attempt).unwrap() <= 1 + INTENSITY);
                        prop_assert!(*attempt == 1 || !job.is_asked);
                        running = Some(job.turn);
                        if job.is_asked {
                            answered.push(job.turn);
                        }
                    }
                    Action::Deny { turn, .. } => answered.push(*turn),
                    Action::Interrupt { turn } => prop_assert_eq!(Some(*turn), running),
                    Action::Finish => {
                        prop_assert!(running.is_none() && !is_finished);
                        is_finished = true;
                    }
                    Action::Remember { .. } | Action::Arm { .. } | Action::Log(_) => {}
                }
            }
        }
        if !is_finished {
            answered.extend(story.on(Event::Stop).denied().map(|(turn, _)| turn));
        }
        if let Some(turn) = running {
            story.on(Event::Ended { turn, end: TurnEnd::Result });
        }
        prop_assert!(matches!(story.life.phase, Phase::Finished));
        let mut once = answered.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), answered.len(), "answered twice");
        prop_assert!(answered.iter().all(|turn| asked.contains(turn)));
    }
}
