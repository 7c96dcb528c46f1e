//! Any sequence of events keeps the promises of DESIGN.md §2.
//!
//! [`World`] plays the Supervisor actor: it keeps the contract written on [`Action`], remembers what it was told, and
//! checks every action against that memory, which shares nothing with the core. Between the events that the contract
//! allows come some that it does not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SLOTS: [&str; 3] = ["a", "a/m", "b"];

/// Numbers choose among what is there when the step is taken.
#[derive(Clone, Debug)]
enum Step {
    /// The fingerprint wanted of each slot; 0: not configured.
    Revise([u8; 3]),
    Ask {
        slot: usize,
        fingerprint: u8,
        kind: u8,
    },
    LeaseEnds(usize),
    Rejoin {
        gateway: usize,
    },
    Ready(usize),
    Ends(usize),
    Stopped(usize),
    Sample(usize, u64),
    Fire(usize),
    Passes(u64),
    Release,
    Stop,
    Nonsense {
        slot: usize,
        generation: u64,
        ready: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::array::uniform3(0u8..4).prop_map(Step::Revise),
        3 => (0..3usize, 1u8..4, 0u8..4).prop_map(|(slot, fingerprint, kind)| Step::Ask { slot, fingerprint, kind }),
        2 => any::<usize>().prop_map(Step::LeaseEnds),
        1 => any::<usize>().prop_map(|gateway| Step::Rejoin { gateway }),
        8 => any::<usize>().prop_map(Step::Ready),
        6 => any::<usize>().prop_map(Step::Ends),
        4 => any::<usize>().prop_map(Step::Stopped),
        2 => (any::<usize>(), 0u64..2).prop_map(|(index, running)| Step::Sample(index, running)),
        8 => any::<usize>().prop_map(Step::Fire),
        2 => (0u64..40_000).prop_map(Step::Passes),
        1 => Just(Step::Release),
        1 => (0..40u8).prop_map(|dice| if dice == 0 { Step::Stop } else { Step::Passes(1) }),
        1 => (0..3usize, 0u64..6, any::<bool>())
            .prop_map(|(slot, generation, ready)| Step::Nonsense { slot, generation, ready }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alive {
    Starting,
    Serving,
    /// Ended; a restart may come.
    Down,
    Refusing,
    Ending,
}

type Name = (Slot, Generation);

struct World {
    supervision: Supervision,
    now: Instant,
    gateways: BTreeMap<Name, Alive>,
    started: BTreeMap<Slot, Generation>,
    fingerprints: BTreeMap<Name, u8>,
    leases: BTreeMap<LeaseId, (Name, Holder)>,
    asks: BTreeMap<AskId, Option<(LeaseId, Holder)>>,
    timers: BTreeMap<TimerId, Instant>,
    /// Restarts granted to each slot, since its last SIGHUP.
    budget: BTreeMap<Slot, Vec<Instant>>,
    numbers: u64,
    stops: u32,
    deadline: Option<Instant>,
    finished: bool,
}

impl World {
    fn new() -> Self {
        Self {
            supervision: Supervision::new(policy()),
            now: Instant::now(),
            gateways: BTreeMap::new(),
            started: BTreeMap::new(),
            fingerprints: BTreeMap::new(),
            leases: BTreeMap::new(),
            asks: BTreeMap::new(),
            timers: BTreeMap::new(),
            budget: BTreeMap::new(),
            numbers: 0,
            stops: 0,
            deadline: None,
            finished: false,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn on(&mut self, event: Event) {
        let blocked = self.blocked();
        let actions = self.supervision.on(event.clone(), self.now);
        self.check_answer(&event, &actions);
        for action in actions {
            if let Action::Start { slot, fingerprint, kind: StartKind::New, .. } = &action {
                let was_tried = blocked.get(slot).is_some_and(|tried| tried.contains(fingerprint));
                assert!(
                    !was_tried || event == Event::Release,
                    "{slot} started while quarantined, by {event:?}: {blocked:?}"
                );
            }
            self.perform(action, &event);
        }
        self.check_state();
    }

    fn blocked(&self) -> BTreeMap<Slot, Vec<Fingerprint>> {
        let records = self.supervision.slots.values();
        records.filter_map(|record| Some((record.slot.clone(), record.quarantine.as_ref()?.tried.clone()))).collect()
    }

    /// An unplanned end leads to a restart, a refusal or a stop.
    fn check_answer(&self, event: &Event, actions: &[Action]) {
        let Event::Gateway { slot, generation, event: GatewayEvent::Ended { .. } } = event else { return };
        let name = (slot.clone(), *generation);
        if !matches!(self.gateways.get(&name), Some(Alive::Starting | Alive::Serving)) {
            return;
        }
        let is_answer = |action: &Action| match action {
            Action::Log(Note::RestartScheduled { slot, generation, .. })
            | Action::Refuse { slot, generation, .. }
            | Action::Stop { slot, generation } => (slot, *generation) == (&name.0, name.1),
            _ => false,
        };
        assert!(actions.iter().any(is_answer), "the end of {name:?} has no answer");
    }

    fn perform(&mut self, action: Action, event: &Event) {
        match action {
            Action::Start { slot, generation, fingerprint, kind, .. } => {
                self.start((slot, generation), fingerprint, kind, event);
            }
            Action::Refuse { slot, generation, .. } => {
                let before = self.gateways.insert((slot, generation), Alive::Refusing);
                assert!(matches!(before, Some(Alive::Starting | Alive::Serving)));
            }
            Action::Drain { slot, generation, .. } => {
                let name = (slot, generation);
                self.check_not_held(&name);
                assert_eq!(self.gateways.insert(name, Alive::Ending), Some(Alive::Serving), "only what serves drains");
            }
            Action::Stop { slot, generation } => {
                let name = (slot, generation);
                self.check_not_held(&name);
                assert!(self.gateways.insert(name, Alive::Ending).is_some());
            }
            Action::Sample { slot, generation } => {
                assert_eq!(self.gateways.get(&(slot, generation)), Some(&Alive::Serving));
            }
            Action::Arm { timer, delay } => {
                assert!(self.timers.insert(timer, self.now + delay).is_none(), "a timer's number is used once");
            }
            Action::Answer { ask, answer } => self.answered(ask, answer),
            Action::Log(note) => self.note(note),
            Action::Finish => {
                assert!(!self.finished && self.stops > 0 && self.gateways.is_empty());
                self.finished = true;
            }
        }
    }

    fn start(&mut self, name: Name, fingerprint: Fingerprint, kind: StartKind, event: &Event) {
        let before = self.gateways.insert(name.clone(), Alive::Starting);
        match kind {
            StartKind::New => {
                assert_eq!(before, None);
                assert_eq!(self.stops, 0, "nothing new during a stop");
                let last = self.started.insert(name.0.clone(), name.1);
                assert!(last < Some(name.1), "generation numbers grow");
                self.fingerprints.insert(name, fingerprint.0[0]);
            }
            StartKind::Restart => {
                assert_eq!(fingerprint.0[0], self.fingerprints[&name], "settings are fixed for a generation's life");
                match before {
                    Some(Alive::Down) => {}
                    Some(Alive::Refusing) => assert_eq!(*event, Event::Release, "{name:?} left its quarantine"),
                    other => panic!("{name:?} was restarted while {other:?}"),
                }
            }
        }
    }

    fn check_not_held(&self, name: &Name) {
        if self.stops > 1 || self.deadline.is_some_and(|deadline| self.now >= deadline) {
            return;
        }
        let holds = |holder: Holder| self.stops == 0 || holder == Holder::Turn;
        let is_held = self.leases.values().any(|(held, holder)| held == name && holds(*holder));
        assert!(!is_held, "{name:?} was torn down under a lease");
    }

    fn answered(&mut self, ask: AskId, answer: Answer) {
        let lease = self.asks.remove(&ask).expect("every ask is answered at most once");
        if let Answer::Granted { slot, generation } = answer {
            let name = (slot, generation);
            assert!(matches!(self.gateways.get(&name), Some(alive) if *alive != Alive::Ending));
            self.leases.extend(lease.map(|(lease, holder)| (lease, (name, holder))));
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::RestartScheduled { slot, generation, .. } => {
                self.gateways.insert((slot.clone(), generation), Alive::Down);
                let granted = self.budget.entry(slot).or_default();
                granted.push(self.now);
                let Limits { intensity, period, .. } = policy().restarts;
                let recent = granted.iter().filter(|at| self.now - **at < period).count();
                assert!(recent <= intensity, "{recent} restarts in the window");
            }
            Note::Released { slot, cause: ReleaseCause::Sighup } => {
                self.budget.remove(&slot);
            }
            _ => {}
        }
    }

    fn check_state(&self) {
        for record in self.supervision.slots.values() {
            let currents = record.gateways.values().filter(|gateway| gateway.role == gateway::Role::Current).count();
            assert!(currents <= 1, "{} has {currents} current generations", record.slot);
        }
        let mut known =
            self.supervision.snapshot().gateways.into_iter().map(|gateway| (gateway.slot, gateway.generation));
        assert!(known.all(|name| self.gateways.contains_key(&name)));
        assert!(self.asks.is_empty() || self.stops == 0, "nobody waits for a service that stops");
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Revise(fingerprints) => self.revise(fingerprints),
            Step::Ask { slot, fingerprint, kind } => self.ask(SLOTS[slot], fingerprint, kind),
            Step::LeaseEnds(index) => {
                if let Some(lease) = pick(self.leases.keys(), index) {
                    self.leases.remove(&lease);
                    self.on(Event::LeaseEnded { lease });
                }
            }
            Step::Rejoin { gateway } => self.rejoin(gateway),
            Step::Ready(index) => {
                if let Some(name) = self.pick_gateway(index, &[Alive::Starting]) {
                    self.gateways.insert(name.clone(), Alive::Serving);
                    let address = address(name.1.0 % 1000);
                    self.gateway_event(name, GatewayEvent::Ready { address });
                }
            }
            Step::Ends(index) => {
                if let Some(name) = self.pick_gateway(index, &[Alive::Starting, Alive::Serving]) {
                    self.gateway_event(name, DIED);
                }
            }
            Step::Stopped(index) => {
                if let Some(name) = self.pick_gateway(index, &[Alive::Ending]) {
                    self.gateways.remove(&name);
                    self.gateway_event(name, GatewayEvent::Stopped);
                }
            }
            Step::Sample(index, running) => {
                if let Some(name) = self.pick_gateway(index, &[Alive::Serving]) {
                    self.gateway_event(name, GatewayEvent::Sampled { running, last_use: None });
                }
            }
            Step::Fire(index) => {
                if let Some(timer) = pick(self.timers.keys(), index) {
                    self.fire(timer);
                }
            }
            Step::Passes(time) => self.now += Duration::from_millis(time),
            Step::Release => self.on(Event::Release),
            Step::Stop => self.stop(),
            Step::Nonsense { slot, generation, ready } => self.nonsense(SLOTS[slot], Generation(generation), ready),
        }
    }

    fn revise(&mut self, fingerprints: [u8; 3]) {
        let mut wanted = Vec::new();
        let asked: Vec<_> = self.supervision.asked().cloned().collect();
        let enabled =
            |slot: &Slot| if slot.backend.as_str() == "a" { fingerprints[0] > 0 } else { fingerprints[2] > 0 };
        for (text, number) in SLOTS.into_iter().zip(fingerprints) {
            let is_enabled = enabled(&slot(text));
            if is_enabled && number > 0 {
                wanted.push(configured(text, number));
            } else if is_enabled && asked.contains(&slot(text)) {
                wanted.push(still_asked(text, 1));
            }
        }
        let cause = RevisionCause::Config;
        self.on(Event::Revision { revision: Revision(1), cause, policy: policy(), wanted });
    }

    fn ask(&mut self, slot_text: &str, number: u8, kind: u8) {
        let (ask, lease) = (AskId(self.number()), LeaseId(self.number()));
        let asker = match kind {
            0 => Asker::Env { ask },
            1 => Asker::Lease { ask, lease, holder: Holder::Terminal },
            2 => Asker::Lease { ask, lease, holder: Holder::Turn },
            _ => Asker::Restored,
        };
        match asker {
            Asker::Env { ask } => drop(self.asks.insert(ask, None)),
            Asker::Lease { ask, lease, holder } => drop(self.asks.insert(ask, Some((lease, holder)))),
            Asker::Restored => {}
        }
        self.on(Event::Asked { slot: slot(slot_text), model: None, fingerprint: fingerprint(number), asker });
    }

    fn rejoin(&mut self, index: usize) {
        let Some((slot, generation)) = pick(self.gateways.keys(), index) else { return };
        let (ask, lease, holder) = (AskId(self.number()), LeaseId(self.number()), Holder::Terminal);
        self.asks.insert(ask, Some((lease, holder)));
        self.on(Event::Rejoined { ask, slot, generation, lease, holder });
    }

    fn fire(&mut self, timer: TimerId) {
        if let Some(due) = self.timers.remove(&timer) {
            self.now = self.now.max(due);
            self.on(Event::Timer(timer));
        }
    }

    fn stop(&mut self) {
        self.stops += 1;
        self.deadline.get_or_insert(self.now + policy().drain_deadline);
        self.on(Event::Stop);
    }

    /// Events of generations that do not live, and ends of those that have ended.
    fn nonsense(&mut self, slot_text: &str, generation: Generation, ready: bool) {
        let name = (slot(slot_text), generation);
        let is_wrong = |alive: &Alive| matches!(alive, Alive::Down | Alive::Refusing);
        if self.gateways.get(&name).is_none_or(is_wrong) {
            let event = if ready { GatewayEvent::Ready { address: address(1) } } else { DIED };
            let before = self.supervision.snapshot();
            self.gateway_event(name, event);
            let after = self.supervision.snapshot();
            assert_eq!(after.dropped_events, before.dropped_events + 1);
        }
    }

    fn gateway_event(&mut self, (slot, generation): Name, event: GatewayEvent) {
        self.on(Event::Gateway { slot, generation, event });
    }

    fn pick_gateway(&self, index: usize, states: &[Alive]) -> Option<Name> {
        pick(self.gateways.iter().filter(|(_, alive)| states.contains(alive)).map(|(name, _)| name), index)
    }

    /// Everything starts and ends as told, and the backoffs pass, until nothing happens any more.
    fn calm_down(&mut self) {
        for _ in 0..1000 {
            if let Some(name) = self.pick_gateway(0, &[Alive::Starting]) {
                self.gateways.insert(name.clone(), Alive::Serving);
                self.gateway_event(name, GatewayEvent::Ready { address: address(1) });
            } else if let Some(name) = self.pick_gateway(0, &[Alive::Ending]) {
                self.gateways.remove(&name);
                self.gateway_event(name, GatewayEvent::Stopped);
            } else if let Some(timer) = self.next_backoff() {
                self.fire(timer);
            } else {
                return;
            }
        }
        panic!("it never calms down");
    }

    /// Timers but those of `retire_after`.
    fn next_backoff(&self) -> Option<TimerId> {
        let soon = self.now + policy().restarts.backoff_max;
        self.timers.iter().find(|(_, due)| **due <= soon).map(|(timer, _)| *timer)
    }

    /// What is wanted runs, or is quarantined and says so.
    fn check_promises(&self) {
        for record in self.supervision.slots.values() {
            let Some(want) = &record.want else { continue };
            let serves = record.serving().map(|serving| record.gateways[&serving].fingerprint);
            assert!(serves == Some(want.fingerprint) || record.quarantine.is_some(), "{record:#?}");
        }
        assert!(self.asks.is_empty(), "somebody still waits");
    }
}

fn pick<'a, T: Clone + 'a>(from: impl Iterator<Item = &'a T>, index: usize) -> Option<T> {
    let all: Vec<_> = from.collect();
    (!all.is_empty()).then(|| all[index % all.len()].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_keeps_the_promises(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.take(step));
        world.calm_down();
        world.check_promises();
        world.stop();
        world.stop();
        world.calm_down();
        prop_assert!(world.finished);
    }

    #[test]
    fn a_wish_equal_to_what_runs_starts_nothing(numbers in prop::collection::vec(2u8..9, 1..9)) {
        let mut service = Service::serving();
        for number in numbers {
            service.wants(&[configured("a", number)]);
        }
        service.wants(&[configured("a", 1)]);
        while !service.armed.is_empty() {
            prop_assert!(service.fire().is_empty());
        }
        prop_assert_eq!(service.supervision.serving(&slot("a")), Some(Generation(1)));
    }
}
