//! Unplanned ends: backoff, quarantine, release.

use super::*;
use crate::actors::supervision::snapshot::GatewayState;

#[test]
fn a_crashed_gateway_keeps_its_generation_and_comes_back_after_a_doubling_backoff() {
    let mut service = Service::serving();
    let first = service.gateway("a", 1, DIED);
    assert_eq!(first, ["log exited #1 listener_died", "log restart_scheduled #1 listener_died 200ms", "arm 200ms"]);
    assert_eq!(service.fire(), ["restart #1"]);
    assert_eq!(service.ready("a", 1), ["log ready #1 startup 1"]);
    let second = service.gateway("a", 1, ended(EndCause::ThreadPanicked));
    assert_eq!(second.last().unwrap(), "arm 400ms");
    assert_eq!(service.supervision.snapshot().gateways[0].cause.as_str(), "thread_panicked");
}

#[test]
fn the_end_after_the_last_allowed_restart_quarantines_and_the_port_still_answers() {
    let mut service = Service::serving();
    for _ in 0..2 {
        service.gateway("a", 1, DIED);
        service.fire();
        service.ready("a", 1);
    }
    let last = service.gateway("a", 1, ended(EndCause::ThreadPanicked));
    assert_eq!(
        last,
        [
            "log exited #1 thread_panicked",
            "log restart_loop #1 listener_died -> listener_died -> thread_panicked",
            "log quarantined #1 3",
            "refuse #1: quarantined",
        ]
    );
    assert_eq!(service.states(), [(1, GatewayState::Quarantined, true)]);
    assert_eq!(service.supervision.snapshot().quarantined.len(), 1);
}

#[test]
fn ends_outside_the_window_are_forgiven_and_the_backoff_starts_anew() {
    let mut service = Service::serving();
    for _ in 0..10 {
        let actions = service.gateway("a", 1, DIED);
        assert_eq!(actions.last().unwrap(), "arm 200ms");
        service.fire();
        service.ready("a", 1);
        service.passes(policy().restarts.period);
    }
}

#[test]
fn a_first_start_that_fails_too_often_is_quarantined_without_a_port() {
    let mut service = Service::new();
    assert_eq!(service.wants(&[configured("a", 1)]), ["start #1 with 1"]);
    assert!(!service.supervision.is_settled());
    service.gateway("a", 1, ended(EndCause::BindFailed));
    assert!(service.supervision.is_settled(), "past its first failed start");
    service.fire();
    service.gateway("a", 1, ended(EndCause::BindFailed));
    service.fire();
    let last = service.gateway("a", 1, ended(EndCause::BindFailed));
    assert_eq!(last.last().unwrap(), "refuse #1: quarantined");
    assert_eq!(service.supervision.snapshot().gateways[0].address, None);
}

#[test]
fn quarantine_holds_for_tried_fingerprints_and_ends_with_an_untried_one() {
    let mut service = Service::quarantined();
    assert!(service.wants(&[configured("a", 1)]).is_empty(), "saved again without a change");
    service.passes(Duration::from_secs(3600));
    assert!(service.wants(&[configured("a", 1)]).is_empty(), "time alone releases nothing");
    assert_eq!(service.wants(&[configured("a", 2)]), ["log released fingerprint_changed", "start #2 with 2"]);
    assert_eq!(
        service.ready("a", 2),
        ["log ready #2 settings_changed 0", "log replaced #1 by #2 settings_changed", "arm 1800s"]
    );
}

#[test]
fn a_fingerprint_that_ended_in_the_window_is_a_tried_one() {
    let mut service = Service::quarantined();
    service.wants(&[configured("a", 2)]);
    let actions = service.gateway("a", 2, ended(EndCause::StartFailed));
    assert_eq!(actions.last().unwrap(), "refuse #2: quarantined", "the window is the slot's");
    assert_eq!(service.wants(&[configured("a", 1)]), ["stop #2"], "it is current, and stays quarantined");
    assert_eq!(service.supervision.snapshot().quarantined.len(), 1);
    assert_eq!(service.wants(&[configured("a", 3)])[0], "log released fingerprint_changed");
}

#[test]
fn sighup_starts_the_same_generation_with_a_fresh_budget() {
    let mut service = Service::quarantined();
    assert_eq!(service.on(Event::Release), ["log released sighup", "restart #1"]);
    service.ready("a", 1);
    assert_eq!(service.gateway("a", 1, DIED).last().unwrap(), "arm 200ms");
    assert!(service.on(Event::Release).is_empty(), "nothing is quarantined");
}

#[test]
fn switching_a_backend_off_and_on_is_no_way_around_its_quarantine() {
    let mut service = Service::quarantined();
    assert_eq!(service.wants(&[]), ["stop #1"]);
    service.gateway("a", 1, GatewayEvent::Stopped);
    assert!(service.wants(&[configured("a", 1)]).is_empty());
    assert_eq!(service.env("a", 1, 5), ["deny 5: quarantined"]);
    assert_eq!(service.on(Event::Release), ["log released sighup", "start #2 with 1"]);
}

#[test]
fn an_old_generation_with_a_lease_is_restarted_but_never_current_again() {
    let mut service = Service::replaced(true);
    service.gateway("a", 1, DIED);
    assert_eq!(service.fire(), ["restart #1"]);
    assert_eq!(service.ready("a", 1), ["log ready #1 startup 1"]);
    assert_eq!(service.states(), [(1, GatewayState::Draining, false), (2, GatewayState::Serving, true)]);
}

#[test]
fn an_old_generation_whose_last_lease_ends_during_its_backoff_is_let_go() {
    let mut service = Service::replaced(true);
    service.gateway("a", 1, DIED);
    assert_eq!(service.lease_ends(1), ["stop #1"]);
    assert!(service.fire().is_empty());
    assert_eq!(service.gateway("a", 1, GatewayEvent::Stopped), ["log drained #1 replaced"]);
    assert_eq!(service.states(), [(2, GatewayState::Serving, true)]);
}

#[test]
fn a_new_generation_that_cannot_start_leaves_the_current_one_alone() {
    let mut service = Service::serving();
    service.wants(&[configured("a", 2)]);
    for _ in 0..2 {
        service.gateway("a", 2, ended(EndCause::StartFailed));
        service.fire();
    }
    service.gateway("a", 2, ended(EndCause::StartFailed));
    assert_eq!(service.states(), [(1, GatewayState::Serving, true), (2, GatewayState::Quarantined, false)]);
    assert_eq!(service.env("a", 2, 5), ["grant 5: #1"], "an edit never strands anybody");
    assert_eq!(service.wants(&[configured("a", 1)]), ["log released fingerprint_changed", "stop #2"]);
}

#[test]
fn slots_do_not_share_a_budget() {
    let mut service = Service::new();
    service.wants(&[configured("a", 1), configured("b", 1)]);
    service.ready("b", 1);
    for _ in 0..2 {
        service.gateway("a", 1, DIED);
        service.fire();
    }
    service.gateway("a", 1, DIED);
    assert_eq!(service.gateway("b", 1, DIED).last().unwrap(), "arm 200ms");
}

#[test]
fn what_a_quarantined_port_says_names_the_cause_and_the_way_out() {
    let reason = QuarantineReason { ends: 6, period: Duration::from_secs(60), last: EndCause::BindFailed };
    let text = Refusal::Quarantined { slot: slot("a/m"), reason }.to_string();
    for part in ["a/m", "6 times", "60s", "bind_failed", "SIGHUP", "settings"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_wish_that_comes_back_to_what_is_quarantined_finds_it_quarantined() {
    let mut service = Service::quarantined();
    service.wants(&[configured("a", 2)]);
    assert_eq!(service.wants(&[configured("a", 1)]), ["stop #2"]);
    assert_eq!(service.supervision.snapshot().quarantined.len(), 1);
    assert_eq!(service.env("a", 1, 5), ["deny 5: quarantined"]);
    assert_eq!(service.on(Event::Release), ["log released sighup", "restart #1"]);
}

#[test]
fn an_old_generation_in_quarantine_does_not_quarantine_its_slot() {
    let mut service = Service::replaced(true);
    for _ in 0..2 {
        service.gateway("a", 1, DIED);
        service.fire();
    }
    service.gateway("a", 1, DIED);
    assert_eq!(service.states(), [(1, GatewayState::Quarantined, false), (2, GatewayState::Serving, true)]);
    assert!(service.supervision.snapshot().quarantined.is_empty());
    assert_eq!(service.on(Event::Release), ["log released sighup", "restart #1"], "its holder gets another try");
}

#[test]
fn a_loop_names_its_chain_and_what_to_do() {
    let unplanned = Chain::Unplanned(vec![EndCause::ListenerDied, EndCause::BindFailed]);
    assert_eq!(unplanned.to_string(), "listener_died -> bind_failed");
    assert!(unplanned.hint().contains("bound"));
    let causes = vec![StartCause::ModelDiscovered];
    assert!(Chain::Planned { causes, delay: Duration::ZERO }.hint().contains("default_model"));
}
