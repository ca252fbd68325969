//! The bounds of one call: steps, bytes, depth. They are counts and not times, so that a policy that is cut off here is cut off
//! at the same place on every machine.

use starlark::codemap::FileSpanRef;
use starlark::environment::Module;
use starlark::eval::{BeforeStmtFunc, BeforeStmtFuncDyn, Evaluator};

/// Longest file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Statements and calls of functions in one call; comprehensions count every turn. An optimized build does this many in
/// some 5 ms, a usual policy needs some 30.
pub const STEPS_MAX: u64 = 100_000;
/// Bytes that one call may allocate, garbage included. A list of 100,000 numbers takes 2.4 MB.
pub const HEAP_BYTES_MAX: usize = 4 << 20;
/// Functions that call each other, innermost last.
pub const CALLS_DEEP_MAX: usize = 40;
/// Entries of one list, tuple or range made by a single built-in operation.
pub const ENTRIES_MAX: usize = 100_000;
/// Characters of one text made by a single built-in operation.
pub const TEXT_MAX: usize = 10_000;

/// What a call that does too much is told.
pub const TOO_MUCH: &str =
    "this call does more than 100000 steps or allocates more than 4 MiB: is there a loop without end?";

/// Counts the steps of one call and looks at its memory after each.
struct Meter {
    steps: u64,
}

impl<'e> BeforeStmtFuncDyn<'e> for Meter {
    fn call<'v>(&mut self, _: FileSpanRef, _: bool, evaluator: &mut Evaluator<'v, '_, 'e>) -> starlark::Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(refused(format!("more than {STEPS_MAX} steps in one call: is there a loop without end?")));
        }
        if evaluator.heap().allocated_bytes() > HEAP_BYTES_MAX {
            return Err(refused(format!("more than {} MiB allocated in one call", HEAP_BYTES_MAX >> 20)));
        }
        Ok(())
    }
}

/// An evaluator whose calls are bounded.
pub(super) fn evaluator<'v, 'a, 'e>(module: &'a Module<'v>) -> Evaluator<'v, 'a, 'e> {
    let mut evaluator = Evaluator::new(module);
    evaluator.before_stmt_for_dap(BeforeStmtFunc::from_dyn(Box::new(Meter { steps: 0 })));
    // The turns of comprehensions are no statements; the evaluator counts them, and looks every thousand.
    evaluator.set_max_tick_count(STEPS_MAX).expect("set once, to more than nothing");
    evaluator.set_max_heap_size(HEAP_BYTES_MAX).expect("set once, to more than nothing");
    evaluator.set_max_callstack_size(CALLS_DEEP_MAX).expect("set once, to more than nothing");
    evaluator
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// A failure of a built-in function in our own words.
pub(super) fn refused(message: impl Into<String>) -> starlark::Error {
    starlark::Error::new_value(Refused(message.into()))
}
