//! What is remembered of the calls of a policy that failed: how many, and what the first one said.

use serde_json::{Value, json};

use super::super::BadPolicyState;
use super::StarlarkError;

/// The failed calls of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many calls failed.
    pub count: u64,
    /// Place and message of the first.
    pub first: Option<String>,
}

impl Faults {
    /// One more call failed.
    pub(super) fn add(&mut self, error: &StarlarkError) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(error.to_string());
        }
    }

    pub(super) fn save(&self) -> Value {
        json!({ "count": self.count, "first": self.first })
    }

    pub(super) fn load(state: &Value) -> Result<Faults, BadPolicyState> {
        let first = match state.get("first") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => return Err(BadPolicyState(format!("`{other}` is no message of a fault"))),
        };
        let count = state.get("count").and_then(Value::as_u64);
        let count = count.ok_or_else(|| BadPolicyState("the number of faults is missing".to_owned()))?;
        Ok(Faults { count, first })
    }
}
