//! A file's `idle_timeout` as a keep-alive policy: keeps its state, and falls back to the platform's 5 s where it fails.

use serde_json::{Value, json};

use super::super::{BadPolicyState, IdleStart, KeepAlivePolicy, ParamError};
use super::data::Data;
use super::{Faults, Program, StarlarkError};
use crate::units::Span;

/// The documented idle timeout, which stands in for a failing policy.
pub const FALLBACK: Span = Span::from_whole_secs(5);

/// See the module.
pub struct StarlarkKeepAlive {
    program: Program,
    state: Data,
    faults: Faults,
}

impl StarlarkKeepAlive {
    /// From a program that keeps workers alive.
    ///
    /// # Errors
    /// If it has no `idle_timeout`.
    pub fn new(program: Program) -> Result<StarlarkKeepAlive, ParamError> {
        if !program.keeps_alive() {
            return Err(program.missing("idle_timeout").into());
        }
        Ok(StarlarkKeepAlive { state: program.init_state().clone(), faults: Faults::default(), program })
    }

    /// One call, without the fallback.
    ///
    /// # Errors
    /// What the file did wrong; its state is then as before.
    pub fn call(&mut self, idle: &IdleStart<'_>) -> Result<Option<Span>, StarlarkError> {
        let (timeout, state) = self.program.idle_timeout(idle, &self.state)?;
        self.state = state;
        Ok(timeout)
    }
}

impl KeepAlivePolicy for StarlarkKeepAlive {
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span> {
        match self.call(idle) {
            Ok(timeout) => timeout,
            Err(error) => {
                self.faults.add(&error);
                Some(FALLBACK)
            }
        }
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.faults).filter(|faults| faults.count > 0)
    }

    fn save(&self) -> Value {
        json!({ "state": self.state.to_json(), "faults": self.faults.save() })
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let kept = state.get("state").ok_or_else(|| BadPolicyState("its state is missing".to_owned()))?;
        self.state = Data::from_json(kept).map_err(BadPolicyState)?;
        self.faults = Faults::load(state.get("faults").unwrap_or(&Value::Null))?;
        Ok(())
    }
}
