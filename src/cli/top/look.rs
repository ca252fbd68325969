//! One look at a gateway: what it answers, put together, and what two looks tell that one does not.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::client::{Client, list, managed};
use super::Failure;

/// Endpoints whose workers are asked for; those beyond are shown without.
const ENDPOINTS_WITH_WORKERS: usize = 20;

/// Everything that the gateway tells about endpoints, workers and spend.
pub fn everything(client: &Client) -> Result<Value, Failure> {
    let endpoints = client.get(&managed(&["serverless"]))?;
    let bills = client.get(&managed(&["billing", "serverless"]))?;
    let mut workers = serde_json::Map::new();
    for endpoint in list(&endpoints, "endpoints").iter().take(ENDPOINTS_WITH_WORKERS) {
        let Some(id) = endpoint["id"].as_str() else { continue };
        match client.get(&managed(&["serverless", id, "workers"])) {
            Ok(page) => drop(workers.insert(id.to_owned(), page["workers"].clone())),
            // Deleted since the list was made.
            Err(Failure::Input(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(json!({ "endpoints": endpoints["endpoints"], "records": bills["records"], "workers": workers }))
}

/// Jobs completed by endpoint, at the last look.
#[derive(Default)]
pub struct Rates(Option<(Duration, BTreeMap<String, u64>)>);

/// What is shown.
pub struct Look {
    /// What the gateway said.
    pub seen: Value,
    /// Completed jobs per second, by endpoint.
    rates: BTreeMap<String, f64>,
    /// Place of the endpoint whose workers are shown.
    pub selected: usize,
}

impl Look {
    /// A first look.
    pub fn new(seen: Value) -> Look {
        Look { seen, rates: BTreeMap::new(), selected: 0 }
    }

    /// A look after others.
    pub fn with_rates(seen: Value, rates: &mut Rates) -> Look {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        let now = BEGIN.get_or_init(Instant::now).elapsed();
        Look::with_rates_at(seen, rates, now)
    }

    /// The same at a given moment.
    pub fn with_rates_at(seen: Value, rates: &mut Rates, now: Duration) -> Look {
        let completed: BTreeMap<String, u64> = list(&seen, "endpoints")
            .iter()
            .filter_map(|endpoint| {
                let id = endpoint["id"].as_str()?.to_owned();
                Some((id, endpoint["health"]["jobs"]["completed"].as_u64()?))
            })
            .collect();
        let mut found = BTreeMap::new();
        if let Some((then, before)) = &rates.0 {
            let seconds = now.saturating_sub(*then).as_secs_f64().max(1e-3);
            for (id, count) in &completed {
                if let Some(before) = before.get(id) {
                    found.insert(id.clone(), count.saturating_sub(*before) as f64 / seconds);
                }
            }
        }
        rates.0 = Some((now, completed));
        Look { rates: found, ..Look::new(seen) }
    }

    /// Completed jobs per second; nothing at the first look.
    pub fn rate(&self, endpoint: &str) -> Option<f64> {
        self.rates.get(endpoint).copied()
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &[Value] {
        list(&self.seen, "endpoints")
    }

    /// Place of the last endpoint.
    pub fn last(&self) -> usize {
        self.endpoints().len().saturating_sub(1)
    }

    /// The endpoint whose workers are shown, and they.
    pub fn shown(&self) -> Option<(&str, &[Value])> {
        let id = self.endpoints().get(self.selected)?["id"].as_str()?;
        Some((id, list(&self.seen["workers"], id)))
    }

    /// Spend so far under both profiles: seed, documented.
    pub fn spend(&self, endpoint: &str) -> Option<(f64, f64)> {
        let record = list(&self.seen, "records").iter().find(|record| record["serverlessId"] == endpoint)?;
        Some((record["profiles"]["seed"].as_f64()?, record["profiles"]["documented"].as_f64()?))
    }
}
