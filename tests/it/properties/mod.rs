//! Properties: what must hold whatever happens. Random plans through the simulator (`simulated`), arbitrary facts straight into the
//! scheduler (`chaos`), relations between runs (`metamorphic`), restarts (`restore`), and proof that the checker would notice
//! (`canary`).
//!
//! Every run draws the same cases. `PROPTEST_CASES=2000 cargo test` draws more; a case that fails is printed, made small, and its
//! seed kept in `tests/testdata/` so that it is tried first from then on.

mod canary;
mod chaos;
mod metamorphic;
mod plans;
mod restore;
mod simulated;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestCaseResult, TestRng, TestRunner,
};

#[allow(clippy::disallowed_methods, reason = "how many cases are tried is a choice of whoever runs the tests")]
/// Tries `test` on `cases` values (`PROPTEST_CASES`, if set), the same ones every time.
fn check<S: Strategy>(kept: &'static str, cases: u32, strategy: &S, test: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config {
        cases,
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    if let Err(failure) = runner.run(strategy, test) {
        panic!("{failure}");
    }
}

fn fail<T>(text: String) -> Result<T, TestCaseError> {
    Err(TestCaseError::fail(text))
}
