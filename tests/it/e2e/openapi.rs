//! The API document describes the API: an outside tool reads it, makes requests from it, good and bad, and holds the answers
//! against it.

use std::process::Command;

use serde_json::json;

use super::super::support::patience::eventually;
use super::harness::App;
use super::python;

#[test]
fn schemathesis_finds_nothing() {
    let Some(app) = App::new() else { return };
    let mut server = app.endpoint("e", "probe.py", &[], &[]).start("openapi");
    let made = server.post("/management/v2/keys", &json!({ "label": "fuzzer" })).json();
    let key = made["key"].as_str().expect("the key itself");
    // A schema cannot say which settings go together, nor which GPU classes this machine has: 422 says it in words.
    let allowed = r#"["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]"#;
    let settings = format!("[checks]\npositive_data_acceptance.expected-statuses = {allowed}\n");
    std::fs::write(server.path("schemathesis.toml"), settings).expect("it can be written");
    let output = python::run(
        Command::new(server.venv.join("bin/schemathesis"))
            .arg("run")
            .arg(format!("{}/openapi.json", server.url()))
            .args(["--header", &format!("Authorization: Bearer {key}")])
            // It could revoke its own key. That requests without a key are refused is looked at below: the gateway answers too
            // many of them with 429, which the first two checks take for an error; how lenient the gateway is where the SDK
            // needs it, no schema can say.
            .args(["--exclude-path", "/management/v2/keys/{id}"])
            .args(["--exclude-checks", "ignored_auth,missing_required_header,negative_data_rejection"])
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--workers", "2"])
            .args(["--request-timeout", "30", "--suppress-health-check", "all"])
            .current_dir(&server.folder),
    );
    // It ended well, or `run` would not have come back; and it has looked at something. (That ids made up at random lead nowhere
    // is a warning to it.)
    let cases = output.lines().find_map(|line| line.trim().split_once(" generated, ")).expect("a count of test cases");
    assert_eq!(cases.1, format!("{} passed", cases.0), "{output}");
    assert!(cases.0.parse::<u32>().is_ok_and(|cases| cases > 500), "{output}");
    // Still in one piece after all that.
    assert_eq!(server.try_get("/healthz").map(|reply| reply.status), Some(200));
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

#[test]
fn every_operation_but_the_open_ones_asks_for_a_key() {
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &[]).serve("auth: required").start("locked");
    let document = server.get("/openapi.json");
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            if open || !["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                continue;
            }
            let path = path.replace("{endpoint}", "e").replace("{id}", "x").replace("{worker}", "x");
            let refused = eventually("an answer other than 429", || {
                let reply = server.try_send(&method.to_uppercase(), &path, &json!({ "input": {} }));
                reply.filter(|reply| reply.status != 429)
            });
            assert_eq!(refused.status, 401, "{method} {path}: {}", refused.text());
            asked += 1;
        }
    }
    assert!(asked >= 20, "only {asked} operations");
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

#[test]
fn a_first_key_closes_the_door_and_opens_it() {
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &[]).start("keys");
    let made = server.post("/management/v2/keys", &json!({ "label": "first" }));
    assert_eq!(made.status, 201, "{}", made.text());
    let key = made.json()["key"].as_str().expect("the key itself").to_owned();
    let refused = eventually("a request without a key to be refused", || {
        server.try_get("/v2/e/health").filter(|reply| reply.status == 401)
    });
    assert!(refused.json()["error"].is_string(), "{}", refused.text());
    for shown in [key.clone(), format!("Bearer {key}")] {
        let reply = server.try_get_with("/v2/e/health", &[("Authorization", &shown)]);
        assert_eq!(reply.map(|reply| reply.status), Some(200));
    }
    let everything = server.log() + &std::fs::read_to_string(server.path("app.yaml")).unwrap_or_default();
    assert!(!everything.contains(&key), "a key was logged");
}
