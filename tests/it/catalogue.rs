//! The policy files that come with the project: each can be laid over an application, says what it is, and runs.
//!
//! Method: every file of `policies/` over the quick start for two simulated hours. A policy may be slow or dear; every accepted job must
//! have its outcome all the same, and the same seed the same transcript.

use std::path::Path;

use thermocline::experiment::{self, RunOptions};
use thermocline::lab::candidate::Candidate;

use super::tidy::files;

#[test]
fn every_policy_file_runs_and_finishes_every_job() {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/quickstart.yaml");
    let policies = files("policies", &[".yaml"]);
    assert!(policies.len() >= 20, "{} policy files", policies.len());
    for path in policies {
        let shown = path.display();
        let candidate = Candidate::of_file(&path).unwrap_or_else(|problems| panic!("{shown}: {problems}"));
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert_eq!(candidate.name, stem, "a policy is called like its file");
        assert!(candidate.summary.len() > 10, "{shown} says in one line what it is");
        let loaded = candidate.load(&scenario, &["duration_s=2h".to_owned()]);
        let plan = loaded.unwrap_or_else(|problems| panic!("{shown}: {problems}")).plan;
        let run = || {
            experiment::run(&plan, &RunOptions::default(), &mut |_| {})
                .unwrap_or_else(|error| panic!("{shown}: {error}"))
        };
        let (one, again) = (run(), run());
        assert_eq!(one.summary.transcript_hash, again.summary.transcript_hash, "{shown}");
        assert_eq!(one.end.unfinished, 0, "{shown}: {:?}", one.end.reason);
        assert!(one.end.jobs > 0, "{shown}: nothing arrived");
    }
}

#[test]
fn every_header_says_on_what_traffic_it_does_badly() {
    for path in files("policies", &[".yaml"]) {
        let text = std::fs::read_to_string(&path).expect("it is there");
        for words in ["# Does well on: ", "# Does badly on: ", "# Source: "] {
            assert!(text.contains(words), "{} has no `{words}`", path.display());
        }
    }
}
