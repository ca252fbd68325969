//! The OpenAPI 3.1 document of the client and management APIs, as served at `/openapi.json`.

use serde_json::{Map, Value, json};

use super::openapi_manage;

/// The document.
pub fn document() -> Value {
    let mut paths = client_paths();
    paths.extend(openapi_manage::paths());
    let mut schemas = client_schemas();
    schemas.extend(openapi_manage::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Thermocline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The RunPod Serverless API on your own machines, with a management API beside it.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key; also taken without the word Bearer." },
            },
            "parameters": {
                "endpoint": path_parameter("endpoint"),
                "id": path_parameter("id"),
                "worker": path_parameter("worker"),
            },
            "schemas": schemas,
            "responses": responses(),
        },
    })
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "$ref": "#/components/schemas/Name" } })
}

/// A query parameter.
pub fn query_parameter(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// A reference to a schema.
pub fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A response with JSON.
pub fn json_body(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn refusal(description: &str) -> Value {
    json_body(description, &schema("Refusal"))
}

fn responses() -> Value {
    let later = json!({ "Retry-After": { "schema": { "type": "integer" }, "description": "Seconds." } });
    let mut too_many = refusal("Too many requests, or the queue is full.");
    too_many["headers"] = later.clone();
    let mut unavailable = refusal("The gateway is going down, or the store cannot take it now.");
    unavailable["headers"] = later;
    json!({
        "BadRequest": refusal("The request is wrong; `error` says what and what is allowed."),
        "Unauthorized": refusal("No key, or no valid one."),
        "Forbidden": refusal("A key for something else."),
        "NotFound": refusal("No such endpoint or job (any more); `reason` is `expired`, `purged`, `ttl` or `not_found`."),
        "SlowBody": refusal("The body came too slowly."),
        "TooLarge": refusal("The body is too large."),
        "TooMany": too_many,
        "Internal": refusal("An error of ours, or of the worker (OpenAI routes)."),
        "Unavailable": unavailable,
    })
}

/// An operation of the client API: its answers are `success` and the refusals that all of them share.
fn operation(id: &str, summary: &str, more: &Value, success: &Value) -> Value {
    let mut operation =
        json!({ "operationId": id, "summary": summary, "tags": ["client"], "responses": { "200": success } });
    let refusals = [
        ("400", "BadRequest"),
        ("401", "Unauthorized"),
        ("403", "Forbidden"),
        ("404", "NotFound"),
        ("429", "TooMany"),
        ("500", "Internal"),
        ("503", "Unavailable"),
    ];
    for (status, name) in refusals {
        operation["responses"][status] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
    if let Value::Object(more) = more {
        for (key, value) in more {
            operation[key] = value.clone();
        }
    }
    if operation.get("requestBody").is_some() {
        for (status, name) in [("408", "SlowBody"), ("413", "TooLarge")] {
            operation["responses"][status] = json!({ "$ref": format!("#/components/responses/{name}") });
        }
    }
    operation
}

fn about_job(success: &Value) -> Value {
    let mut success = success.clone();
    success["headers"] =
        json!({ "X-Job-Id": { "schema": { "type": "string" }, "description": "The job's id, before the body ends." } });
    success
}

fn path(parameters: &[&str], operations: Value) -> Value {
    let references: Vec<Value> =
        parameters.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect();
    let mut path = operations;
    path["parameters"] = Value::Array(references);
    path
}

fn client_paths() -> Map<String, Value> {
    let wait = query_parameter(
        "wait",
        &json!({ "type": "integer", "minimum": 1000, "maximum": 300000, "default": 90000 }),
        "Longest wait in ms; after it the job's state of that moment is the answer.",
    );
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        "description": "A second request with it gets the first one's job.",
    });
    let body = json!({ "required": true, "content": { "application/json": { "schema": schema("JobRequest") } } });
    let accepted = about_job(&json_body("Accepted, and durable.", &schema("JobState")));
    let job = about_job(&json_body("The job.", &schema("Job")));
    let events = json!({ "description": "Server-sent events.", "content": { "text/event-stream": {} } });
    let none = json!({});
    let twice = |get_id: &str, post_id: &str, summary: &str, more: &Value, success: &Value| json!({ "get": operation(get_id, summary, more, success), "post": operation(post_id, summary, more, success) });
    let one = ["endpoint"];
    let two = ["endpoint", "id"];
    let ttl = query_parameter(
        "ttl",
        &json!({ "type": "integer", "minimum": 10000, "maximum": 604800000 }),
        "Checked and without effect: results are kept for the server's retention.",
    );
    let list = [
        query_parameter(
            "offset",
            &json!({ "type": "integer", "minimum": 0, "maximum": 4294967295_u32, "default": 0 }),
            "Jobs to skip.",
        ),
        query_parameter(
            "limit",
            &json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 }),
            "Most jobs.",
        ),
    ];
    let stream = about_job(&json_body("The pieces since the last call.", &schema("Stream")));
    let all = json!({
        "/v2/{endpoint}/run": path(&one, json!({ "post":
            operation("run", "Put a job into the queue.", &json!({ "parameters": [key], "requestBody": body }), &accepted) })),
        "/v2/{endpoint}/runsync": path(&one, json!({ "post":
            operation("runsync", "Put a job into the queue and wait for its end.",
                &json!({ "parameters": [key, wait], "requestBody": body }), &job) })),
        "/v2/{endpoint}/status/{id}":
            path(&two, twice("status", "statusPost", "A job.", &json!({ "parameters": [ttl] }), &job)),
        "/v2/{endpoint}/status-sync/{id}":
            path(&two, twice("statusSync", "statusSyncPost", "A job, once it has ended.", &json!({ "parameters": [wait] }), &job)),
        "/v2/{endpoint}/stream/{id}":
            path(&two, twice("stream", "streamPost", "What the job yielded since the last call.", &none, &stream)),
        "/v2/{endpoint}/events": path(&one, json!({ "get": operation("events", "Every change of every job.", &none, &events) })),
        "/v2/{endpoint}/events/{id}":
            path(&two, json!({ "get": operation("jobEvents", "Every change of a job up to its end.", &none, &events) })),
        "/v2/{endpoint}/cancel/{id}": path(&two, json!({ "post": operation("cancel",
            "Cancel a job; one that has ended stays as it is.", &none,
            &about_job(&json_body("Its state now.", &schema("JobState")))) })),
        "/v2/{endpoint}/retry/{id}": path(&two, json!({ "post": operation("retry",
            "Put a failed or timed-out job back into the queue.", &none,
            &about_job(&json_body("It waits again.", &schema("JobState")))) })),
        "/v2/{endpoint}/purge-queue": path(&one, json!({ "post": operation("purgeQueue",
            "Drop every waiting job.", &none, &json_body("How many there were.", &schema("Purged"))) })),
        "/v2/{endpoint}/health": path(&one, json!({ "get": operation("health",
            "Counters.", &none, &json_body("Counters.", &schema("Health"))) })),
        "/v2/{endpoint}/requests": path(&one, json!({ "get": operation("requests",
            "Jobs, newest first, without their outputs.", &json!({ "parameters": list }),
            &json_body("A page of them.", &schema("Requests"))) })),
    });
    match all {
        Value::Object(paths) => paths,
        _ => Map::new(),
    }
}

fn client_schemas() -> Map<String, Value> {
    let states = json!(["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);
    let count = json!({ "type": "integer", "minimum": 0 });
    let counters = |names: &[&str]| {
        let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), count.clone())).collect();
        json!({ "type": "object", "required": names, "properties": properties })
    };
    let text = json!({ "type": "string" });
    let ms = |least: u64| json!({ "type": ["integer", "null"], "minimum": least, "maximum": 604_800_000 });
    let all = json!({
        "Name": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        "State": { "type": "string", "enum": states },
        "Refusal": {
            "type": "object", "required": ["error", "reason"],
            "properties": { "error": { "description": "For people; an object on the OpenAI routes." }, "reason": text },
        },
        "JobRequest": {
            "type": "object", "required": ["input"],
            "properties": {
                "input": { "description": "Anything that fits the endpoint's input schema; for the worker." },
                "webhook": { "type": ["string", "null"], "maxLength": 2048, "examples": ["https://example.org/done"],
                    "pattern": "^(https?://[a-z0-9][a-z0-9-]{0,40}\\.example(/[a-z0-9]{0,40})?)?$",
                    "description": "An http or https address without user name and password (the pattern here is narrower)." },
                "policy": { "type": ["object", "null"], "properties": {
                    "executionTimeout": { "anyOf": [ms(5_000), { "const": 0 }] },
                    "ttl": ms(10_000),
                    "lowPriority": { "type": ["boolean", "null"] },
                } },
                "s3Config": { "type": ["object", "null"], "description": "For the worker alone; in no answer." },
            },
        },
        "JobState": {
            "type": "object", "required": ["id", "status"],
            "properties": { "id": schema("Name"), "status": schema("State") },
        },
        "Attempt": {
            "type": "object", "required": ["workerId", "startedAt"],
            "properties": { "workerId": text, "startedAt": count, "endedAt": count, "end": text },
        },
        "Job": {
            "type": "object", "required": ["id", "status"],
            "properties": {
                "id": schema("Name"), "status": schema("State"),
                "delayTime": { "type": "integer", "minimum": 0, "description": "ms from submission to the start of the last attempt." },
                "executionTime": { "type": "integer", "minimum": 0, "description": "ms of the last attempt." },
                "workerId": text, "retries": count,
                "output": { "description": "The output; while the job runs, its latest progress." },
                "error": text,
                "cause": { "type": "string", "description": "Why it ended." },
                "reason": { "type": "string", "description": "Why it waits." },
                "attempts": { "type": "array", "items": schema("Attempt") },
                "submittedAt": { "type": "integer", "description": "ms since 1970." },
                "finishedAt": { "type": "integer", "description": "ms since 1970." },
                "webhookState": { "type": "string", "enum": ["pending", "delivered", "failed"] },
            },
        },
        "Stream": {
            "type": "object", "required": ["status", "stream"],
            "properties": {
                "status": schema("State"),
                "stream": { "type": "array", "items": { "type": "object", "required": ["output"], "properties": { "output": {} } } },
            },
        },
        "Purged": {
            "type": "object", "required": ["removed", "status"], "properties": { "removed": count, "status": { "const": "completed" } },
        },
        "Health": {
            "type": "object", "required": ["jobs", "workers", "reason", "degraded"],
            "properties": {
                "jobs": counters(&["completed", "failed", "inProgress", "inQueue", "retried"]),
                "workers": counters(&["idle", "initializing", "ready", "running", "throttled", "unhealthy", "outdated", "warm",
                    "frozen", "asleep"]),
                "reason": { "type": ["string", "null"] },
                "degraded": { "type": "boolean" },
            },
        },
        "Requests": {
            "type": "object", "required": ["requests", "total", "offset", "limit", "hasMore"],
            "properties": {
                "requests": { "type": "array", "items": schema("Job") }, "total": count, "offset": count, "limit": count,
                "hasMore": { "type": "boolean" },
            },
        },
    });
    match all {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let mut names: Vec<&str> = document["paths"]
            .as_object()
            .expect("paths")
            .values()
            .flat_map(|path| path.as_object().expect("operations").values())
            .filter_map(|operation| operation.get("operationId")?.as_str())
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all), (all, all));
        assert!(all >= 24, "{all} operations");
    }

    #[test]
    fn every_schema_is_a_json_schema() {
        let document = document();
        for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
            let mut schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            schema["components"] = document["components"].clone();
            jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
