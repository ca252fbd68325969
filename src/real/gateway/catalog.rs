//! What the gateway knows of the endpoints, so that not every request asks the core: kind, input schema, rates.
//!
//! The copy is at most [`Times::refresh`](super::settings::Times) old; a change through this gateway's management API is seen at
//! once, an endpoint that is not in the copy is asked for. The core has the last word on everything.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonschema::Validator;

use super::super::config::{EndpointConfig, EndpointKind};
use super::super::core::handle::Handle;
use super::super::ids::is_id;
use super::problem::Problem;
use super::rates::Rates;

/// An endpoint.
pub struct Known {
    /// Its settings.
    pub config: EndpointConfig,
    /// Compiled `input_schema`; the text says why it cannot be.
    pub schema: Option<Result<Validator, String>>,
    /// Its counters.
    pub rates: Arc<Rates>,
}

impl Known {
    /// A queue endpoint, or the platform's refusal.
    pub fn queue(&self) -> Result<(), Problem> {
        if self.config.kind == EndpointKind::Queue { Ok(()) } else { Err(Problem::wrong_kind()) }
    }

    fn new(config: EndpointConfig, rates: Arc<Rates>) -> Known {
        let schema = config.input_schema.as_ref().map(compile);
        Known { config, schema, rates }
    }
}

/// Compiles an `input_schema`; the text of the error is for people.
pub fn compile(schema: &serde_json::Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| format!("at `{}`: {error}", error.instance_path()))
}

#[derive(Default)]
struct Copy {
    endpoints: BTreeMap<String, Arc<Known>>,
    at: Option<Instant>,
}

/// The copy.
#[derive(Default)]
pub struct Catalog {
    copy: RwLock<Copy>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

/// An endpoint that is not in the copy is asked for at most this often.
const MISSING_AGE: Duration = Duration::from_millis(50);

impl Catalog {
    /// The endpoint of that name.
    pub async fn get(&self, handle: &Handle, id: &str, refresh: Duration) -> Option<Arc<Known>> {
        if !is_id(id) {
            return None;
        }
        let (found, age) = self.look(id);
        if found.is_some() && age.is_some_and(|age| age < refresh) {
            return found;
        }
        let wanted = if found.is_some() { refresh } else { MISSING_AGE.min(refresh) };
        self.ask(handle, wanted).await;
        self.look(id).0
    }

    /// The load-balancing endpoint that a host name's first label means, whatever its case.
    pub async fn by_label(&self, handle: &Handle, label: &str, refresh: Duration) -> Option<Arc<Known>> {
        self.ask(handle, refresh).await;
        let copy = self.copy.read().unwrap_or_else(PoisonError::into_inner);
        let mut balanced = copy.endpoints.values().filter(|known| known.config.kind == EndpointKind::LoadBalancer);
        balanced.find(|known| known.config.id.eq_ignore_ascii_case(label)).cloned()
    }

    /// The next request asks the core.
    pub fn forget(&self) {
        self.copy.write().unwrap_or_else(PoisonError::into_inner).at = None;
    }

    fn look(&self, id: &str) -> (Option<Arc<Known>>, Option<Duration>) {
        let copy = self.copy.read().unwrap_or_else(PoisonError::into_inner);
        (copy.endpoints.get(id).cloned(), copy.at.map(|at| at.elapsed()))
    }

    fn is_younger(&self, than: Duration) -> bool {
        let copy = self.copy.read().unwrap_or_else(PoisonError::into_inner);
        copy.at.is_some_and(|at| at.elapsed() < than)
    }

    async fn ask(&self, handle: &Handle, wanted: Duration) {
        if self.is_younger(wanted) {
            return;
        }
        let _one = self.asking.lock().await;
        if self.is_younger(wanted) {
            return;
        }
        let asked = Instant::now();
        let views = handle.endpoints().await;
        let old = self.copy.read().unwrap_or_else(PoisonError::into_inner).endpoints.clone();
        let mut endpoints = BTreeMap::new();
        for view in views {
            let known = match old.get(&view.config.id) {
                Some(known) if known.config == view.config => Arc::clone(known),
                Some(known) => Arc::new(Known::new(view.config, Arc::clone(&known.rates))),
                None => Arc::new(Known::new(view.config, Arc::default())),
            };
            known.rates.running.store(view.health.workers.running, Ordering::Relaxed);
            endpoints.insert(known.config.id.clone(), known);
        }
        *self.copy.write().unwrap_or_else(PoisonError::into_inner) = Copy { endpoints, at: Some(asked) };
    }
}
