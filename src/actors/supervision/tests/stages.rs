//! Every stage of a gateway against every event a gateway can send.

use super::*;

#[derive(Clone, Copy, Debug)]
enum Here {
    Starting,
    Serving,
    BackingOff,
    Quarantined,
    OldWithLease,
    OldWithoutLease,
    Draining,
    Stopping,
}

/// The gateway in question is generation 1 of slot `a`.
fn service(here: Here) -> Service {
    let mut service = match here {
        Here::Starting => Service::new(),
        Here::Quarantined => Service::quarantined(),
        Here::OldWithLease => Service::replaced(true),
        Here::OldWithoutLease => Service::replaced(false),
        Here::Serving | Here::BackingOff | Here::Draining | Here::Stopping => Service::serving(),
    };
    match here {
        Here::Starting => drop(service.wants(&[configured("a", 1)])),
        Here::BackingOff => drop(service.gateway("a", 1, DIED)),
        Here::Draining => drop(service.wants(&[])),
        Here::Stopping => {
            service.on(Event::Stop);
            service.on(Event::Stop);
        }
        Here::Serving | Here::Quarantined | Here::OldWithLease | Here::OldWithoutLease => {}
    }
    service
}

#[test]
fn every_stage_answers_every_event() {
    let ready = GatewayEvent::Ready { address: address(1) };
    let stopped = GatewayEvent::Stopped;
    let idle = GatewayEvent::Sampled { running: 0, last_use: None };
    let back_off = ["log exited #1 listener_died", "log restart_scheduled #1 listener_died 200ms", "arm 200ms"];
    let back_off_too = ["log exited #1 actor_ended", "log restart_scheduled #1 actor_ended 200ms", "arm 200ms"];
    // Where, what, the actions, and whether it was dropped.
    let table: &[(Here, GatewayEvent, &[&str], bool)] = &[
        (Here::Starting, ready, &["log ready #1 startup 0"], false),
        (Here::Starting, DIED, &back_off, false),
        (Here::Starting, stopped, &back_off_too, false),
        (Here::Starting, idle, &[], false),
        (Here::Serving, ready, &[], true),
        (Here::Serving, DIED, &back_off, false),
        (Here::Serving, stopped, &back_off_too, false),
        (Here::Serving, idle, &[], false),
        (Here::BackingOff, ready, &[], true),
        (Here::BackingOff, DIED, &[], true),
        (Here::BackingOff, stopped, &[], true),
        (Here::BackingOff, idle, &[], false),
        (Here::Quarantined, ready, &[], true),
        (Here::Quarantined, DIED, &[], true),
        (Here::Quarantined, stopped, &[], true),
        (Here::Quarantined, idle, &[], false),
        (Here::OldWithLease, ready, &[], true),
        (Here::OldWithLease, DIED, &back_off, false),
        (Here::OldWithLease, stopped, &back_off_too, false),
        (Here::OldWithLease, idle, &[], false),
        (Here::OldWithoutLease, ready, &[], true),
        (Here::OldWithoutLease, DIED, &["log exited #1 listener_died", "stop #1"], false),
        (Here::OldWithoutLease, stopped, &["log exited #1 actor_ended", "stop #1"], false),
        (Here::OldWithoutLease, idle, &[], false),
        (Here::Draining, ready, &[], false),
        (Here::Draining, DIED, &["log exited #1 listener_died"], false),
        (Here::Draining, stopped, &["log drained #1 backend_disabled"], false),
        (Here::Draining, idle, &[], false),
        (Here::Stopping, ready, &[], false),
        (Here::Stopping, DIED, &["finish"], false),
        (Here::Stopping, stopped, &["log drained #1 service_stopping", "finish"], false),
        (Here::Stopping, idle, &[], false),
    ];
    for (here, event, actions, dropped) in table {
        let mut service = service(*here);
        let dropped_before = service.supervision.snapshot().dropped_events;
        assert_eq!(service.gateway("a", 1, *event), *actions, "{here:?} {event:?}");
        let dropped_now = service.supervision.snapshot().dropped_events - dropped_before;
        assert_eq!(dropped_now, u64::from(*dropped), "{here:?} {event:?}");
    }
}

#[test]
fn an_unknown_generation_or_slot_is_dropped_and_counted() {
    let mut service = Service::serving();
    assert!(service.ready("a", 7).is_empty());
    assert!(service.gateway("b", 1, DIED).is_empty());
    assert!(service.lease_ends(99).is_empty());
    assert_eq!(service.supervision.snapshot().dropped_events, 3);
}

#[test]
fn a_timer_that_was_cancelled_or_never_armed_means_nothing() {
    let mut service = Service::serving();
    service.gateway("a", 1, DIED);
    service.wants(&[]);
    assert!(service.fire().is_empty(), "the backoff of a gateway that is not wanted any more");
    assert!(service.on(Event::Timer(TimerId(99))).is_empty());
}
