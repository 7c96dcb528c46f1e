//! From a revision to what should run: each slot's model, its fingerprint, and what its gateway's handlers will read.
//!
//! Pure but for the `BackendState`s that it hands on. Whether anything is started for it is the core's matter.

use std::collections::HashMap;
use std::sync::Arc;

use super::supervision::{Wanted, WantedBy};
use crate::http::gateway::Upstream;
use crate::http::upstream::BackendState;
use crate::ids::{BackendId, Fingerprint, ModelId, Slot};
use crate::settings::{self, Backend, BackendKind, Settings, UpstreamSettings};

/// A backend at one address; what it has taught us, and its credential, belong to both together.
pub type Origin = (BackendId, String);

/// One `BackendState` for each origin that the config names or a generation still speaks to: what an upstream has taught
/// us outlives a generation.
#[derive(Default)]
pub struct States(HashMap<Origin, Arc<BackendState>>);

impl States {
    pub fn of(&mut self, backend: &Backend) -> Arc<BackendState> {
        Arc::clone(self.0.entry(origin(backend)).or_default())
    }

    pub fn known(&self, backend: &Backend) -> Option<Arc<BackendState>> {
        self.0.get(&origin(backend)).map(Arc::clone)
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn keep(&mut self, is_used: impl Fn(&Origin) -> bool) {
        self.0.retain(|origin, _| is_used(origin));
    }
}

/// What the handlers of one (slot, fingerprint) read.
#[derive(Clone)]
pub struct Spec {
    pub upstreams: Vec<Upstream>,
    pub settings: UpstreamSettings,
    pub rejection_threshold: u32,
}

impl Spec {
    pub fn model(&self) -> Option<&ModelId> {
        self.upstreams.first()?.model.as_ref()
    }
}

pub fn origin(backend: &Backend) -> Origin {
    (backend.id.clone(), backend.origin())
}

/// A slot as the settings describe it now.
pub struct Described {
    pub model: Option<ModelId>,
    pub fingerprint: Fingerprint,
    pub spec: Spec,
}

/// What `slot` means under `settings`; nothing if its backend is unknown, disabled or has no gateway.
pub fn describe(settings: &Settings, slot: &Slot, states: &mut States) -> Option<Described> {
    let backend = settings.backend(&slot.backend).filter(|backend| has_gateway(backend))?;
    let mut first = upstream(backend, states);
    if let Some(model) = &slot.model {
        // Whatever the config calls small is a model of the same upstream; the asked model takes only the main place.
        first.model = Some(model.clone());
    }
    let model = first.model.clone();
    let fallbacks = settings.fallback_chain(&backend.id);
    let offered = fallbacks.iter().filter_map(|id| settings.backend(id)).filter(|backend| has_gateway(backend));
    let fallbacks: Vec<_> = offered.map(|backend| upstream(backend, states)).collect();
    let mut upstreams = vec![first];
    upstreams.extend(fallbacks);
    let fingerprint = fingerprint(settings, slot, &upstreams);
    let rejection_threshold = settings.supervisor.rejection_threshold;
    let spec = Spec { upstreams, settings: settings.upstream.clone(), rejection_threshold };
    Some(Described { model, fingerprint, spec })
}

/// The slots that the config itself wants: one for each enabled backend with a gateway, and one for each model that a
/// session names.
pub fn configured(settings: &Settings) -> Vec<Slot> {
    let with_gateway = settings.backends.iter().filter(|backend| has_gateway(backend));
    let mut slots: Vec<Slot> = with_gateway.map(|backend| Slot { backend: backend.id.clone(), model: None }).collect();
    for session in &settings.sessions {
        let slot = Slot { backend: session.backend.clone(), model: session.model.clone() };
        if settings.backend(&slot.backend).is_some_and(has_gateway) && !slots.contains(&slot) {
            slots.push(slot);
        }
    }
    slots
}

/// The wish for one slot, for the core.
pub fn wish(slot: Slot, described: &Described, by: WantedBy) -> Wanted {
    Wanted { slot, model: described.model.clone(), fingerprint: described.fingerprint, by }
}

pub fn has_gateway(backend: &Backend) -> bool {
    backend.enabled && backend.kind != BackendKind::Anthropic
}

/// What the settings say of the slot, and the models that its upstreams resolve to beyond them.
fn fingerprint(settings: &Settings, slot: &Slot, upstreams: &[Upstream]) -> Fingerprint {
    let discovered = |upstream: &&Upstream| upstream.backend.default_model.is_none() && upstream.model.is_some();
    let [first, fallbacks @ ..] = upstreams else { return settings::fingerprint(settings, slot, None, None) };
    let (model, small_model) = (first.model.as_ref(), first.small_model.as_ref());
    if !fallbacks.iter().any(|upstream| discovered(&upstream)) {
        return settings::fingerprint(settings, slot, model, small_model);
    }
    let mut resolved = settings.clone();
    for upstream in fallbacks.iter().filter(discovered) {
        let backend = resolved.backends.iter_mut().find(|backend| backend.id == upstream.backend.id);
        if let Some(backend) = backend {
            backend.default_model = upstream.model.clone();
        }
    }
    settings::fingerprint(&resolved, slot, model, small_model)
}

fn upstream(backend: &Backend, states: &mut States) -> Upstream {
    let state = states.of(backend);
    let model = backend.default_model.clone().or_else(|| only_model(&state));
    let small_model = backend.small_model.clone().or_else(|| model.clone());
    Upstream { backend: Arc::new(backend.clone()), model, small_model, state }
}

/// A server that lists exactly one model needs no `default_model`.
fn only_model(state: &BackendState) -> Option<ModelId> {
    match state.models().as_slice() {
        [only] => Some(only.id.clone()),
        _ => None,
    }
}
