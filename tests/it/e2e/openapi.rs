//! The API document describes the API: an outside tool reads it, makes requests from it, good and bad, and holds the answers
//! against it.

use std::process::Command;

use serde_json::json;

use super::harness::App;
use super::python;

#[test]
fn schemathesis_finds_nothing() {
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &[]).start("openapi");
    let id = server.submit("e", json!({}));
    server.until_status("e", &id, "COMPLETED");
    let output = python::run(
        Command::new(server.venv.join("bin/schemathesis"))
            .arg("run")
            .arg(format!("{}/openapi.json", server.url()))
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--workers", "2"])
            .args(["--request-timeout", "30", "--suppress-health-check", "all"])
            .current_dir(&server.folder),
    );
    assert!(output.contains("No issues found") || output.contains("passed"), "{output}");
    // Still in one piece after all that.
    server.complete("e", json!({}));
}

#[test]
fn every_operation_of_the_sdk_is_in_the_document() {
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &[]).start("document");
    let document = server.get("/openapi.json");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    for operation in ["run", "runsync", "status/{", "stream/{", "cancel/{", "retry/{", "purge-queue", "health"] {
        assert!(paths.iter().any(|path| path.contains(&format!("}}/{operation}"))), "no {operation} in {paths:?}");
    }
}
