//! The service stops.

use super::*;

#[test]
fn a_stop_drains_what_serves_and_drops_what_does_not() {
    let mut service = Service::new();
    service.wants(&[configured("a", 1), configured("b", 1), configured("c", 1)]);
    service.ready("a", 1);
    service.gateway("b", 1, DIED);
    let actions = service.on(Event::Stop);
    assert_eq!(actions, ["arm 30s", "drain #1: stopping", "stop b#1", "stop c#1"]);
    service.gateway("b", 1, GatewayEvent::Stopped);
    service.gateway("c", 1, GatewayEvent::Stopped);
    assert_eq!(service.gateway("a", 1, GatewayEvent::Stopped), ["log drained #1 service_stopping", "finish"]);
}

#[test]
fn an_idle_lease_does_not_delay_a_stop_but_a_turn_does() {
    let mut service = Service::new();
    service.wants(&[configured("a", 1), configured("b", 1)]);
    service.ready("a", 1);
    service.ready("b", 1);
    service.lease("a", 1, Holder::Terminal);
    service.lease("b", 2, Holder::Turn);
    assert_eq!(service.on(Event::Stop), ["arm 30s", "drain #1: stopping"]);
    assert_eq!(service.lease_ends(2), ["drain b#1: stopping"]);
}

#[test]
fn the_gateway_of_a_turn_is_even_restarted_during_the_drain() {
    let mut service = Service::serving();
    service.lease("a", 1, Holder::Turn);
    service.on(Event::Stop);
    assert_eq!(service.gateway("a", 1, DIED).last().unwrap(), "arm 200ms");
    assert_eq!(service.fire(), ["restart #1"]);
}

#[test]
fn the_deadline_stops_what_is_left() {
    let mut service = Service::serving();
    service.lease("a", 1, Holder::Turn);
    service.on(Event::Stop);
    assert_eq!(service.fire(), ["stop #1"]);
    assert_eq!(service.gateway("a", 1, GatewayEvent::Stopped).last().unwrap(), "finish");
    assert!(service.on(Event::Stop).is_empty());
}

#[test]
fn a_second_stop_does_not_wait() {
    let mut service = Service::serving();
    assert_eq!(service.on(Event::Stop), ["arm 30s", "drain #1: stopping"]);
    assert_eq!(service.on(Event::Stop), ["stop #1"]);
    assert!(service.fire().is_empty(), "the deadline means nothing any more");
}

#[test]
fn nothing_new_begins_during_a_stop() {
    let mut service = Service::new();
    service.wants(&[configured("a", 1)]);
    service.env("a", 1, 5);
    assert_eq!(service.on(Event::Stop), ["arm 30s", "deny 5: stopping", "stop #1"]);
    assert_eq!(service.env("a", 1, 6), ["deny 6: stopping"]);
    assert_eq!(service.env("b", 1, 7), ["deny 7: stopping"]);
    assert!(service.wants(&[configured("b", 1)]).is_empty());
}

#[test]
fn a_service_without_gateways_finishes_at_once() {
    assert_eq!(Service::new().on(Event::Stop), ["arm 30s", "finish"]);
}
