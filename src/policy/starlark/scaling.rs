//! A file's `advise` as a scaling policy: keeps its state, and asks the platform's default where it fails.

use serde_json::{Value, json};

use super::super::{
    Advice, AskedAt, BadPolicyState, Observation, ParamError, PolicyChoice, ScaleReason, ScalingPolicy, registry,
};
use super::data::Data;
use super::{Faults, Program, StarlarkError, view};
use crate::units::Span;

/// The policy that answers in the place of one that fails: the platform's default.
pub const FALLBACK: &str = "queue_delay";

/// See the module.
pub struct StarlarkScaling {
    program: Program,
    state: Data,
    fallback: Box<dyn ScalingPolicy>,
    faults: Faults,
    floor: u32,
    /// Times in seconds for which it asked how many jobs are overdue: looked up before the call from then on.
    overdue_s: Vec<f64>,
}

impl StarlarkScaling {
    /// From a program that scales.
    ///
    /// # Errors
    /// If it has no `advise`.
    pub fn new(program: Program) -> Result<StarlarkScaling, ParamError> {
        if !program.scales() {
            return Err(program.missing("advise").into());
        }
        Ok(StarlarkScaling {
            state: program.init_state().clone(),
            fallback: registry::scaling(&PolicyChoice::named(FALLBACK))?,
            faults: Faults::default(),
            floor: 0,
            overdue_s: Vec::new(),
            program,
        })
    }

    /// One call, without the fallback.
    ///
    /// # Errors
    /// What the file did wrong; its state is then as before.
    pub fn call(&mut self, seen: &Observation<'_>) -> Result<Advice, StarlarkError> {
        let overdue = view::open_overdue(&self.overdue_s);
        view::answer_overdue(&overdue, seen);
        let mut result = self.program.advise(seen, &self.state, &overdue);
        // Each turn answers what the last one asked for, and there are not many questions.
        while result.is_err() && view::answer_overdue(&overdue, seen) {
            result = self.program.advise(seen, &self.state, &overdue);
        }
        self.overdue_s = view::asked_overdue(overdue);
        let (answer, state) = result?;
        self.state = state;
        self.floor = answer.floor;
        Ok(answer.advice)
    }
}

impl ScalingPolicy for StarlarkScaling {
    fn asked_at(&self) -> AskedAt {
        self.program.asked_at()
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        match self.call(seen) {
            Ok(advice) => advice,
            Err(error) => {
                self.faults.add(&error);
                Advice { reason: ScaleReason::PolicyFault, ..self.fallback.advise(seen) }
            }
        }
    }

    fn uses_idle_timeout(&self) -> bool {
        self.program.uses_idle_timeout()
    }

    fn floor(&self) -> u32 {
        self.floor
    }

    fn first_ask(&self) -> Option<Span> {
        self.program.first_ask()
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.faults).filter(|faults| faults.count > 0)
    }

    fn save(&self) -> Value {
        json!({ "state": self.state.to_json(), "floor": self.floor, "faults": self.faults.save() })
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let kept = state.get("state").ok_or_else(|| BadPolicyState("its state is missing".to_owned()))?;
        self.state = Data::from_json(kept).map_err(BadPolicyState)?;
        let floor = state.get("floor").and_then(Value::as_u64).and_then(|floor| u32::try_from(floor).ok());
        self.floor = floor.ok_or_else(|| BadPolicyState("its floor is missing".to_owned()))?;
        self.faults = Faults::load(state.get("faults").unwrap_or(&Value::Null))?;
        Ok(())
    }
}
