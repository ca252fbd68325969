//! Policies written by users: one file in Starlark with `def advise(obs, state, params)`.
//!
//! Starlark is a small deterministic Python without clock, chance, files and modules of its own. What a file could still do is
//! bounded: steps, bytes and depth of one call ([`limits`]), the size of what it keeps ([`data`]), and what one step of it looks
//! at ([`guard`], `meter`). The way of a file: text -> outline of its nesting ([`outline`]) -> syntax tree, checked ([`check`])
//! -> text in which all is measured that could take long (`meter`) -> frozen program ([`program`]) -> calls ([`scaling()`],
//! [`keep_alive()`]).
//! A call that fails is answered by the platform's default policy, counted and told ([`fault`]).
//!
//! The text travels in the [`PolicyChoice`] itself, so that a plan, a recorded transcript and a restart
//! hold the very policy that they ran with.

pub mod answer;
mod builtins;
pub mod check;
pub mod data;
pub mod error;
pub mod fault;
pub mod guard;
pub mod keep_alive;
pub mod limits;
mod mathematics;
mod measure;
mod meter;
mod operators;
pub mod outline;
pub mod params;
pub mod program;
pub mod scaling;
pub mod template;
pub mod trial;
mod types;
pub mod view;

pub use error::StarlarkError;
pub use fault::Faults;
pub use params::{StarParam, StarParamKind};
pub use program::Program;

use std::collections::BTreeMap;

use super::{KeepAlivePolicy, ParamError, PolicyChoice, ScalingPolicy, wrap};

/// The ending of a file's name that makes it a policy in Starlark.
pub const ENDING: &str = ".star";

/// True for the name of a policy that is a file in Starlark.
pub fn is_file(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// Builds the scaling policy of a choice that names a file, with the common keys ([`wrap::PARAMS`]) round it. A key that the file
/// declares itself is the file's.
///
/// # Errors
/// If its text is missing or wrong, it has no `advise`, or a parameter is not allowed.
pub fn scaling(choice: &PolicyChoice) -> Result<Box<dyn ScalingPolicy>, ParamError> {
    let (mut own, mut common) = wrap::split(choice);
    if !common.params.is_empty() {
        let bare = PolicyChoice { params: BTreeMap::new(), ..own.clone() };
        for param in program(&bare)?.params() {
            own.params.extend(common.params.remove_entry(&param.name));
        }
    }
    wrap::around(Box::new(scaling::StarlarkScaling::new(program(&own)?)?), &common)
}

/// Builds the keep-alive policy of a choice that names a file.
///
/// # Errors
/// As [`scaling()`], where it has no `idle_timeout`.
pub fn keep_alive(choice: &PolicyChoice) -> Result<Box<dyn KeepAlivePolicy>, ParamError> {
    Ok(Box::new(keep_alive::StarlarkKeepAlive::new(program(choice)?)?))
}

fn program(choice: &PolicyChoice) -> Result<Program, ParamError> {
    let Some(source) = &choice.source else {
        let missing = StarlarkError::of_file(&choice.name, "the text of this policy is not at hand here");
        return Err(missing.into());
    };
    let program = Program::compile(&choice.name, source, &choice.params);
    program.map_err(|errors| errors.into_iter().next().expect("a failure has an error").into())
}

#[cfg(test)]
mod tests;
