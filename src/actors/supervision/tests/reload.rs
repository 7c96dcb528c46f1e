//! Planned changes: replacement, draining, damping, disabling.

use super::*;
use crate::actors::supervision::snapshot::GatewayState;

#[test]
fn startup_is_a_reload_from_nothing() {
    let mut service = Service::new();
    let actions = service.wants(&[configured("a", 1), configured("b", 2), configured("b/m", 3)]);
    assert_eq!(actions, ["start #1 with 1", "start b#1 with 2", "start b/m#1 with 3"]);
}

#[test]
fn an_unchanged_slot_keeps_its_generation() {
    let mut service = Service::serving();
    assert_eq!(service.wants(&[configured("a", 1), configured("b", 2)]), ["start b#1 with 2"]);
}

#[test]
fn the_new_generation_is_ready_before_the_old_one_drains() {
    let mut service = Service::serving();
    assert_eq!(service.wants(&[configured("a", 2)]), ["start #2 with 2"]);
    assert_eq!(service.states(), [(1, GatewayState::Serving, true), (2, GatewayState::Starting, false)]);
    assert_eq!(
        service.ready("a", 2),
        ["log ready #2 settings_changed 0", "log replaced #1 by #2 settings_changed", "arm 1800s"]
    );
    assert_eq!(service.states(), [(1, GatewayState::Draining, false), (2, GatewayState::Serving, true)]);
    assert_eq!(service.supervision.serving(&slot("a")), Some(Generation(2)));
}

#[test]
fn the_cause_of_a_replacement_is_told_apart() {
    let other_model = Wanted { model: Some("m2".into()), ..configured("a", 2) };
    let table = [
        (RevisionCause::Config, configured("a", 2), "settings_changed"),
        (RevisionCause::Config, other_model.clone(), "model_changed"),
        (RevisionCause::ModelDiscovered, other_model, "model_discovered"),
    ];
    for (revision_cause, wanted, cause) in table {
        let mut service = Service::serving();
        service.wants_because(revision_cause, &[wanted]);
        assert_eq!(service.ready("a", 2)[1], format!("log replaced #1 by #2 {cause}"));
    }
}

#[test]
fn a_leased_generation_is_never_torn_down_by_an_edit() {
    let mut service = Service::replaced(true);
    service.passes(Duration::from_secs(24 * 3600));
    assert!(service.sample("a", 1, 0).is_empty());
    assert!(service.wants(&[]).iter().all(|action| !action.contains("#1")), "not even when its backend is disabled");
    assert_eq!(service.lease_ends(1), ["drain #1: disabled"]);
    assert_eq!(service.gateway("a", 1, GatewayEvent::Stopped), ["log drained #1 backend_disabled"]);
}

#[test]
fn an_old_generation_stops_once_it_has_been_idle_for_retire_after() {
    let mut service = Service::replaced(true);
    service.passes(Duration::from_secs(3600));
    assert_eq!(service.lease_ends(1), ["arm 1800s"]);
    assert_eq!(service.fire(), ["sample #1"], "nothing is decided on an old sample");
    assert_eq!(service.sample("a", 1, 1), ["arm 1800s"], "a request runs");
    let last_use = service.now + Duration::from_secs(600);
    assert_eq!(service.fire(), ["sample #1"]);
    let sampled = GatewayEvent::Sampled { running: 0, last_use: Some(last_use) };
    assert_eq!(service.gateway("a", 1, sampled), ["arm 600s"], "it has been idle for 1200 s");
    service.fire();
    assert_eq!(service.sample("a", 1, 0), ["drain #1: retired"]);
    assert_eq!(service.gateway("a", 1, GatewayEvent::Stopped), ["log drained #1 replaced"]);
}

#[test]
fn a_shorter_retire_after_counts_from_the_next_revision() {
    let mut service = Service::replaced(false);
    let policy = Policy { retire_after: Duration::from_secs(10), ..policy() };
    let wanted = vec![configured("a", 2)];
    let revision = Event::Revision { revision: Revision(3), cause: RevisionCause::Config, policy, wanted };
    assert_eq!(service.on(revision), ["arm 10s"]);
}

#[test]
fn a_disabled_backend_answers_503_and_stops_without_waiting() {
    let mut service = Service::replaced(false);
    let mut actions = service.wants(&[configured("b", 1)]);
    actions.retain(|action| action.contains("drain"));
    assert_eq!(actions, ["drain #1: disabled", "drain #2: disabled"]);
}

#[test]
fn a_backend_enabled_again_gets_a_new_generation() {
    let mut service = Service::serving();
    service.lease("a", 1, Holder::Terminal);
    service.wants(&[]);
    assert_eq!(service.wants(&[configured("a", 1)]), ["start #2 with 1"], "an old one never becomes current again");
    service.ready("a", 2);
    assert_eq!(service.lease_ends(1), ["arm 1800s"], "and its holders get retire_after again");
}

#[test]
fn a_session_model_that_is_not_configured_any_more_drains() {
    let mut service = Service::new();
    service.wants(&[configured("a", 1), configured("a/m", 1)]);
    service.ready("a/m", 1);
    assert_eq!(service.wants(&[configured("a", 1)]), ["arm 1800s"]);
    service.fire();
    assert_eq!(service.sample("a/m", 1, 0), ["drain a/m#1: retired"]);
}

#[test]
fn a_generation_that_was_never_ready_is_dropped_for_a_newer_wish() {
    let mut service = Service::serving();
    service.wants(&[configured("a", 2)]);
    assert_eq!(service.wants(&[configured("a", 3)]), ["stop #2", "start #3 with 3"]);
    assert_eq!(service.wants(&[configured("a", 1)]), ["stop #3"], "what is wanted runs");
}

/// Two replacements are free, the third waits.
fn damped() -> Service {
    let mut service = Service::serving();
    for number in 2..=3 {
        service.wants(&[configured("a", number)]);
        service.ready("a", u64::from(number));
    }
    let actions = service.wants(&[configured("a", 4)]);
    assert_eq!(actions, ["log restart_loop #3 settings_changed -> settings_changed -> settings_changed", "arm 200ms"]);
    service
}

#[test]
fn flapping_settings_wait_and_only_the_newest_wish_is_carried_out() {
    let mut service = damped();
    assert!(service.wants(&[configured("a", 5)]).is_empty());
    assert_eq!(service.fire(), ["start #4 with 5"]);
    service.ready("a", 4);
    assert_eq!(service.wants(&[configured("a", 6)]).last().unwrap(), "arm 400ms");
}

#[test]
fn a_wish_equal_to_what_runs_cancels_a_damped_replacement() {
    let mut service = damped();
    assert!(service.wants(&[configured("a", 3)]).is_empty());
    assert!(service.fire().is_empty());
}

#[test]
fn damping_ends_with_a_whole_period_without_a_replacement() {
    let mut service = damped();
    service.fire();
    service.ready("a", 4);
    service.passes(policy().restarts.period);
    assert_eq!(service.wants(&[configured("a", 5)]), ["start #5 with 5"]);
}

#[test]
fn a_damped_wish_does_not_start_what_has_been_quarantined_meanwhile() {
    let mut service = Service::serving();
    service.wants(&[configured("a", 2)]);
    service.gateway("a", 2, ended(EndCause::StartFailed));
    service.wants(&[configured("a", 3)]);
    service.ready("a", 3);
    assert_eq!(service.wants(&[configured("a", 2)]).last().unwrap(), "arm 200ms");
    let damping = service.armed.pop().unwrap();
    service.gateway("a", 3, DIED);
    service.fire();
    let actions = service.gateway("a", 3, DIED);
    assert_eq!(actions.last().unwrap(), "refuse #3: quarantined");
    service.armed.push(damping);
    assert!(service.fire().is_empty(), "fingerprint 2 was tried in that window");
}

#[test]
fn a_crash_while_the_new_generation_starts_still_restarts_the_current_one() {
    let mut service = Service::serving();
    service.wants(&[configured("a", 2)]);
    service.gateway("a", 1, DIED);
    assert_eq!(service.fire(), ["restart #1"]);
    assert_eq!(service.ready("a", 2).last().unwrap(), "stop #1", "nobody holds it");
}

#[test]
fn a_status_shows_what_a_draining_generation_still_does() {
    let mut service = Service::serving();
    service.sample("a", 1, 3);
    service.wants(&[]);
    let running = |service: &Service| service.supervision.snapshot().gateways[0].requests_running;
    assert_eq!(running(&service), 3);
    service.sample("a", 1, 2);
    assert_eq!(running(&service), 2);
}

#[test]
fn a_status_names_every_living_generation() {
    let mut service = Service::replaced(true);
    service.gateway("a", 1, DIED);
    let gateways = service.supervision.snapshot().gateways;
    let [old, current] = gateways.as_slice() else { panic!("two generations live: {gateways:?}") };
    assert_eq!((old.state, old.current, old.leases), (GatewayState::BackingOff, false, 1));
    assert_eq!((old.address, old.cause), (Some(address(1)), snapshot::Cause::End(EndCause::ListenerDied)));
    assert_eq!((current.state, current.current, current.replaced), (GatewayState::Serving, true, 1));
    assert_eq!(current.cause.as_str(), "settings_changed");
    assert_eq!(serde_json::to_string(&(old.state, old.cause)).unwrap(), r#"["backing_off","listener_died"]"#);
}
