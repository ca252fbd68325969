//! The bounds of one call: steps, bytes, depth. They are counts and not times, so that a policy that is cut off here is cut off
//! at the same place on every machine.

use starlark::codemap::FileSpanRef;
use starlark::environment::Module;
use starlark::eval::{BeforeStmtFunc, BeforeStmtFuncDyn, Evaluator};

/// Longest file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Statements and calls of functions in one call; comprehensions count every turn, and operations on lists, dicts and texts
/// what they look at ([`NODES_PER_STEP`]). An optimized build does this many in some 5 ms, a usual policy needs some 30.
pub const STEPS_MAX: u64 = 100_000;
/// Values that one operation looks at for a step: comparing two lists of 80 numbers is 10 steps. What a list holds twice is
/// looked at twice, so that lists of lists of one list cost what they would unfold to.
pub const NODES_PER_STEP: u64 = 16;
/// Letters that count as one value.
pub const LETTERS_PER_NODE: u64 = 16;
/// Bytes that one call may allocate, garbage included. A list of 100,000 numbers takes 2.4 MB.
pub const HEAP_BYTES_MAX: usize = 4 << 20;
/// Functions that call each other, innermost last.
pub const CALLS_DEEP_MAX: usize = 40;
/// Lists in lists that an operation looks into. The evaluator's own limit differs between debug and release builds (200, 3,000).
pub const NESTED_MAX: usize = 100;
/// Entries of one list, tuple or range made by a single built-in operation.
pub const ENTRIES_MAX: usize = 100_000;
/// Characters of one text made by a single built-in operation.
pub const TEXT_MAX: usize = 10_000;

/// What a call that does too much is told.
pub const TOO_MUCH: &str =
    "this call does more than 100000 steps or allocates more than 4 MiB: is there a loop without end?";

/// Counts the steps of one call and looks at its memory after each.
struct Meter;

impl<'e> BeforeStmtFuncDyn<'e> for Meter {
    fn call<'v>(&mut self, _: FileSpanRef, _: bool, evaluator: &mut Evaluator<'v, '_, 'e>) -> starlark::Result<()> {
        spend(evaluator, 1)
    }
}

/// An evaluator whose calls are bounded; it counts its steps in `steps`.
pub(super) fn evaluator<'v, 'a, 'e>(module: &'a Module<'v>, steps: &'a mut u64) -> Evaluator<'v, 'a, 'e> {
    let mut evaluator = Evaluator::new(module);
    evaluator.extra_mut = Some(steps);
    evaluator.before_stmt_for_dap(BeforeStmtFunc::from_dyn(Box::new(Meter)));
    // The turns of comprehensions are no statements; the evaluator counts them, and looks every thousand.
    evaluator.set_max_tick_count(STEPS_MAX).expect("set once, to more than nothing");
    evaluator.set_max_heap_size(HEAP_BYTES_MAX).expect("set once, to more than nothing");
    evaluator.set_max_callstack_size(CALLS_DEEP_MAX).expect("set once, to more than nothing");
    evaluator
}

/// Steps that this call may still do.
pub(super) fn steps_left(evaluator: &Evaluator<'_, '_, '_>) -> u64 {
    let done = evaluator.extra_mut.as_deref().and_then(|extra| extra.downcast_ref::<u64>());
    done.map_or(0, |done| STEPS_MAX.saturating_sub(*done))
}

/// Books so many steps, and looks at the memory.
///
/// # Errors
/// If that is more than a call may do.
pub(super) fn spend(evaluator: &mut Evaluator<'_, '_, '_>, steps: u64) -> starlark::Result<()> {
    if let Some(done) = evaluator.extra_mut.as_deref_mut().and_then(|extra| extra.downcast_mut::<u64>()) {
        *done = done.saturating_add(steps);
        if *done > STEPS_MAX {
            return Err(too_many_steps());
        }
    }
    if evaluator.heap().allocated_bytes() > HEAP_BYTES_MAX {
        return Err(refused(format!("more than {} MiB allocated in one call", HEAP_BYTES_MAX >> 20)));
    }
    Ok(())
}

/// What a call of too many steps is told.
pub(super) fn too_many_steps() -> starlark::Error {
    let what = "is there a loop without end, or one over long lists?";
    refused(format!("more than {STEPS_MAX} steps in one call: {what}"))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// A failure of a built-in function in our own words.
pub(super) fn refused(message: impl Into<String>) -> starlark::Error {
    starlark::Error::new_value(Refused(message.into()))
}
