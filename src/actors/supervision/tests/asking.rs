//! Slots that somebody asks for, waits for, holds and comes back to.

use super::*;

const MODEL: &str = "a/m";

/// Backend `a` is configured and serves; its model slot is only asked for.
fn service() -> Service {
    Service::serving()
}

#[test]
fn an_asked_slot_starts_on_demand_and_the_asker_waits_until_it_is_ready() {
    let mut service = service();
    assert_eq!(service.env(MODEL, 2, 5), ["start a/m#1 with 2"]);
    assert_eq!(service.ready(MODEL, 1), ["log ready #1 asked 0", "grant 5: a/m#1"]);
    assert_eq!(service.env(MODEL, 2, 6), ["grant 6: a/m#1"]);
    assert_eq!(service.supervision.asked().collect::<Vec<_>>(), [&slot(MODEL)]);
}

#[test]
fn a_slot_asked_by_env_stays_wanted_across_reloads() {
    let mut service = service();
    service.env(MODEL, 2, 5);
    service.ready(MODEL, 1);
    assert!(service.wants(&[configured("a", 1), still_asked(MODEL, 2)]).is_empty());
    assert_eq!(service.wants(&[configured("a", 1), still_asked(MODEL, 3)]), ["start a/m#2 with 3"]);
    service.passes(Duration::from_secs(24 * 3600));
    assert!(service.sample(MODEL, 1, 0).is_empty());
}

#[test]
fn a_slot_asked_by_env_goes_with_its_backend() {
    let mut service = service();
    service.env(MODEL, 2, 5);
    service.ready(MODEL, 1);
    assert_eq!(service.wants(&[]), ["drain #1: disabled", "drain a/m#1: disabled"]);
    assert_eq!(service.supervision.asked().count(), 0);
}

#[test]
fn a_leased_slot_is_wanted_until_its_last_lease_ends_and_then_idle_for_retire_after() {
    let mut service = service();
    assert_eq!(service.lease(MODEL, 1, Holder::Terminal), ["start a/m#1 with 1"]);
    assert_eq!(service.ready(MODEL, 1).last().unwrap(), "grant 1: a/m#1");
    service.lease(MODEL, 2, Holder::Terminal);
    assert!(service.lease_ends(1).is_empty());
    assert_eq!(service.lease_ends(2), ["arm 1800s"]);
    assert_eq!(service.fire(), ["sample a/m#1"]);
    assert_eq!(service.sample(MODEL, 1, 0), ["drain a/m#1: retired"]);
    assert_eq!(service.supervision.asked().count(), 0);
    assert_eq!(service.gateway(MODEL, 1, GatewayEvent::Stopped), ["log drained #1 idle"]);
    assert_eq!(service.lease(MODEL, 3, Holder::Turn), ["start a/m#2 with 1"], "generation numbers belong to the slot");
}

#[test]
fn asking_again_keeps_an_idle_slot() {
    let mut service = service();
    service.lease(MODEL, 1, Holder::Terminal);
    service.ready(MODEL, 1);
    service.lease_ends(1);
    let (retire, _) = service.armed.pop().unwrap();
    assert_eq!(service.lease(MODEL, 2, Holder::Terminal), ["grant 2: a/m#1"]);
    service.passes(policy().retire_after);
    assert!(service.on(Event::Timer(retire)).is_empty());
}

#[test]
fn a_restored_slot_is_wanted_until_idle_for_retire_after() {
    let mut service = service();
    assert_eq!(service.ask(MODEL, 2, Asker::Restored), ["start a/m#1 with 2"]);
    assert_eq!(service.ready(MODEL, 1), ["log ready #1 restored 0", "arm 1800s"]);
    service.fire();
    assert_eq!(service.sample(MODEL, 1, 0), ["drain a/m#1: retired"]);
}

#[test]
fn a_holder_comes_back_to_any_generation_that_still_serves_it() {
    let mut service = Service::replaced(true);
    service.lease_ends(1);
    let come_back = |lease| Event::Rejoined {
        ask: AskId(lease),
        slot: slot("a"),
        generation: Generation(1),
        lease: LeaseId(lease),
        holder: Holder::Terminal,
    };
    assert_eq!(service.on(come_back(2)), ["grant 2: #1"]);
    assert_eq!(
        service.lease("a", 3, Holder::Terminal),
        ["grant 3: #2"],
        "a new lease is one of the current generation"
    );
    service.wants(&[]);
    service.lease_ends(2);
    assert_eq!(service.on(come_back(4)), ["deny 4: retired"]);
}

#[test]
fn a_holder_that_comes_back_before_the_gateway_is_up_is_not_lost_to_an_edit() {
    let mut service = Service::new();
    service.wants(&[configured("a", 1)]);
    let (ask, lease) = (AskId(1), LeaseId(1));
    let (slot, generation, holder) = (slot("a"), Generation(1), Holder::Terminal);
    assert_eq!(service.on(Event::Rejoined { ask, slot, generation, lease, holder }), ["grant 1: #1"]);
    assert_eq!(service.wants(&[configured("a", 2)]), ["start #2 with 2"]);
    assert_eq!(service.ready("a", 1), ["log ready #1 startup 0"]);
    service.ready("a", 2);
    assert_eq!(service.supervision.serving(&self::slot("a")), Some(Generation(2)));
}

#[test]
fn who_waits_is_told_when_there_is_nothing_left_to_wait_for() {
    let mut service = service();
    service.env(MODEL, 2, 5);
    service.lease(MODEL, 6, Holder::Terminal);
    for _ in 0..2 {
        service.gateway(MODEL, 1, ended(EndCause::BindFailed));
        service.fire();
    }
    let actions = service.gateway(MODEL, 1, ended(EndCause::BindFailed));
    assert_eq!(actions[actions.len() - 2..], ["deny 5: quarantined", "deny 6: quarantined"]);
    assert_eq!(service.env(MODEL, 2, 7), ["deny 7: quarantined"]);
}

#[test]
fn who_waits_is_told_when_the_backend_is_disabled() {
    let mut service = service();
    service.env(MODEL, 2, 5);
    assert_eq!(service.wants(&[]), ["deny 5: disabled", "stop a/m#1", "drain #1: disabled"]);
}

#[test]
fn who_gave_up_waiting_gets_no_answer_and_no_lease() {
    let mut service = service();
    service.env(MODEL, 2, 5);
    service.lease(MODEL, 6, Holder::Terminal);
    service.on(Event::Withdrawn { ask: AskId(5) });
    service.lease_ends(6);
    assert_eq!(service.ready(MODEL, 1), ["log ready #1 asked 0"]);
    assert_eq!(service.supervision.snapshot().gateways[1].leases, 0);
}

#[test]
fn a_crash_is_waited_for() {
    let mut service = service();
    service.gateway("a", 1, DIED);
    assert!(service.env("a", 1, 5).is_empty());
    service.fire();
    assert_eq!(service.ready("a", 1).last().unwrap(), "grant 5: #1");
}

#[test]
fn a_slot_that_is_both_configured_and_asked_for_is_wanted_as_long_as_either_holds() {
    let mut service = service();
    let session = [configured("a", 1), configured(MODEL, 1), still_asked(MODEL, 1)];
    service.lease(MODEL, 1, Holder::Turn);
    service.ready(MODEL, 1);
    service.lease_ends(1);
    assert!(service.wants(&session).is_empty());
    let (retire, delay) = service.armed.pop().unwrap();
    service.passes(delay);
    assert!(service.on(Event::Timer(retire)).is_empty(), "the config wants it");
    assert_eq!(service.wants(&[configured("a", 1), still_asked(MODEL, 1)]), ["sample a/m#1"]);
    assert_eq!(service.sample(MODEL, 1, 0), ["drain a/m#1: retired"]);
}

#[test]
fn a_slot_named_as_asked_for_that_nobody_asks_for_stays_unwanted() {
    let mut service = service();
    assert!(service.wants(&[configured("a", 1), still_asked(MODEL, 1)]).is_empty());
}

#[test]
fn a_slot_that_somebody_waits_for_is_not_idle() {
    let mut service = service();
    service.lease(MODEL, 1, Holder::Terminal);
    service.ready(MODEL, 1);
    service.lease_ends(1);
    service.wants(&[configured("a", 1), still_asked(MODEL, 2)]);
    for _ in 0..2 {
        service.gateway(MODEL, 2, ended(EndCause::StartFailed));
        service.fire();
    }
    service.gateway(MODEL, 2, ended(EndCause::StartFailed));
    service.passes(Duration::from_secs(1000));
    service.gateway(MODEL, 1, DIED);
    assert!(service.lease(MODEL, 2, Holder::Terminal).is_empty(), "the current generation will be back");
    service.passes(Duration::from_secs(1000));
    assert!(service.sample(MODEL, 1, 0).is_empty());
}
