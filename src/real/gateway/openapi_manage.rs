//! The management half of the OpenAPI document, and the paths that need no key.

use serde_json::{Map, Value, json};

use super::openapi::{json_body, query_parameter, schema};

fn problem(description: &str) -> Value {
    json!({ "description": description, "content": { "application/problem+json": { "schema": schema("Problem") } } })
}

fn operation(id: &str, summary: &str, status: &str, success: &Value, takes: Option<&str>) -> Value {
    let mut operation =
        json!({ "operationId": id, "summary": summary, "tags": ["management"], "responses": { status: success } });
    let mut refusals = vec![
        ("400", "The request is wrong."),
        ("401", "No key, or no valid one."),
        ("403", "A key for something else."),
        ("404", "No such thing."),
        ("429", "Too many failed authentications."),
        ("500", "An error of ours."),
        ("503", "Not now."),
    ];
    if let Some(takes) = takes {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema(takes) } } });
        refusals.extend([("408", "The body came too slowly."), ("413", "The body is too large.")]);
    }
    refusals.push(("422", "Settings that are not allowed; `errors` names each."));
    for (status, description) in refusals {
        operation["responses"][status] = problem(description);
    }
    operation
}

fn with_parameters(mut path: Value, names: &[&str]) -> Value {
    let named: Vec<Value> =
        names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect();
    path["parameters"] = Value::Array(named);
    path
}

fn open(id: &str, summary: &str, success: &Value) -> Value {
    let unavailable = json_body("Going down.", &schema("Refusal"));
    json!({ "get": {
        "operationId": id, "summary": summary, "tags": ["service"], "security": [],
        "responses": { "200": success, "503": unavailable },
    } })
}

/// The paths.
pub fn paths() -> Map<String, Value> {
    let endpoint = json_body("The endpoint.", &schema("Endpoint"));
    let mut made = endpoint.clone();
    made["headers"] = json!({ "Location": { "schema": { "type": "string" } } });
    let gone = json!({ "description": "It is going: waiting jobs are cancelled, running ones finish." });
    let logs = json!({ "description": "Its last lines; with `Accept: text/event-stream`, those and all that follow.", "content": {
        "application/json": { "schema": schema("Logs") }, "text/event-stream": {},
    } });
    let mut log_operation = operation("workerLogs", "A worker's log.", "200", &logs, None);
    log_operation["parameters"] = json!([
        query_parameter("source", &json!({ "type": "string", "enum": ["container", "system"] }), "Both unless given."),
        query_parameter(
            "tail",
            &json!({ "type": "integer", "minimum": 0, "maximum": 5000, "default": 100 }),
            "Most lines."
        ),
        query_parameter("since", &json!({ "type": "integer", "minimum": 0 }), "ms since 1970."),
    ]);
    let mut bill = operation(
        "billing",
        "Spend since the store was made.",
        "200",
        &json_body("By endpoint.", &schema("Bills")),
        None,
    );
    bill["parameters"] = json!([query_parameter("serverlessId", &schema("Name"), "One endpoint; all unless given.")]);
    let key = json_body("A key; `key` is the key itself, shown this once.", &json!({ "type": "object" }));
    let keys = json_body("All keys, without the keys themselves.", &json!({ "type": "object" }));
    let revoked = json!({ "description": "The key is worthless within a second." });
    let metrics = json!({ "description": "Prometheus text.", "content": { "application/openmetrics-text": { "schema": { "type": "string" } } } });
    let mut metrics = operation("metrics", "Numbers of platform and gateway.", "200", &metrics, None);
    for status in ["401", "403", "429", "500", "503"] {
        metrics["responses"][status] = json_body("Refused.", &schema("Refusal"));
    }
    let manage = "/management/v2";
    let mut create = operation("createEndpoint", "A new endpoint.", "201", &made, Some("NewEndpoint"));
    create["responses"]["409"] = problem("The id is or was another endpoint's: ids are never used again.");
    let all = json!({
        (format!("{manage}/serverless")): {
            "get": operation("listEndpoints", "All endpoints.", "200", &json_body("All of them.", &schema("Endpoints")), None),
            "post": create,
        },
        (format!("{manage}/serverless/{{id}}")): with_parameters(json!({
            "get": operation("getEndpoint", "An endpoint.", "200", &endpoint, None),
            "patch": operation("updateEndpoint", "Change an endpoint: a release if its containers change.", "200", &endpoint,
                Some("EndpointChange")),
            "delete": operation("deleteEndpoint", "Delete an endpoint.", "204", &gone, None),
        }), &["id"]),
        (format!("{manage}/serverless/{{id}}/workers")): with_parameters(json!({
            "get": operation("listWorkers", "Its workers.", "200", &json_body("All of them.", &schema("Workers")), None),
        }), &["id"]),
        (format!("{manage}/serverless/{{id}}/releases")): with_parameters(json!({
            "get": operation("listReleases", "Its releases, newest first.", "200", &json_body("All of them.", &schema("Releases")), None),
        }), &["id"]),
        (format!("{manage}/serverless/{{id}}/workers/{{worker}}/logs")): with_parameters(json!({ "get": log_operation }), &["id", "worker"]),
        (format!("{manage}/billing/serverless")): { "get": bill },
        (format!("{manage}/keys")): {
            "get": operation("listKeys", "All API keys, revoked ones included.", "200", &keys, None),
            "post": operation("createKey", "A new API key, shown this once.", "201", &key, Some("NewKey")),
        },
        (format!("{manage}/keys/{{id}}")): with_parameters(
            json!({ "delete": operation("revokeKey", "Make a key worthless.", "204", &revoked, None) }), &["id"]),
        "/healthz": open("healthz", "Whether the gateway answers.",
            &json_body("It does.", &json!({ "type": "object", "properties": { "status": { "const": "ok" } } }))),
        "/openapi.json": open("openapi", "This document.", &json_body("This document.", &json!({ "type": "object" }))),
        "/metrics": { "get": metrics },
    });
    match all {
        Value::Object(paths) => paths,
        _ => Map::new(),
    }
}

fn settings() -> Map<String, Value> {
    let whole = |least: u64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let text = |most: u64| json!({ "type": "string", "maxLength": most });
    let texts = json!({ "type": "array", "items": { "type": "string", "pattern": "^[ -~]*$" } });
    let all = json!({
        "name": { "type": "string", "minLength": 1, "maxLength": 191, "pattern": "^[ -~]+$" },
        "image": { "type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[A-Za-z0-9._:/@-]+$" },
        "args": texts,
        "env": { "type": "object", "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "additionalProperties": { "type": "string", "pattern": "^[ -~]*$" },
            "description": "Merged key by key. Values of names like a secret's are shown as `(hidden)`." },
        "ports": { "type": "array", "items": whole(0, 65_535) },
        "gpu": { "type": "object", "additionalProperties": false, "properties": {
            "pools": { "type": "array", "minItems": 1, "items": text(100), "description": "Names of GPU classes that the hosts have." },
            "count": whole(1, 1_024) } },
        "workers": { "type": "object", "additionalProperties": false, "properties": {
            "min": whole(0, 10_000), "max": whole(0, 10_000), "extra": whole(0, 10_000),
            "idleTimeout": { "type": "number", "minimum": 1, "maximum": 3600, "description": "s; not with REQUEST_COUNT" } } },
        "scaling": { "oneOf": [
            { "type": "object", "required": ["type"], "additionalProperties": false, "properties": {
                "type": { "const": "QUEUE_DELAY" }, "queueDelay": { "type": "number", "minimum": 0.5, "maximum": 3600 } } },
            { "type": "object", "required": ["type"], "additionalProperties": false, "properties": {
                "type": { "const": "REQUEST_COUNT" }, "requestCount": whole(1, 1_000_000) } },
        ] },
        "dataCenterIds": texts,
        "timeout": { "anyOf": [whole(5_000, 604_800_000), { "const": 0 }], "description": "ms of a run; 0 = none" },
        "ttl": whole(10_000, 604_800_000),
        "flashboot": { "type": "string", "enum": ["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"] },
        "concurrency": whole(1, 10_000),
        "inputSchema": { "type": "object", "description": "JSON Schema that `input` must fit." },
        "openaiPort": whole(0, 65_535),
        "healthPath": text(256),
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

/// The schemas.
pub fn schemas() -> Map<String, Value> {
    let mut new = settings();
    new.insert("id".to_owned(), schema("Name"));
    new.insert("type".to_owned(), json!({ "type": "string", "enum": ["QUEUE", "LOAD_BALANCER"] }));
    let text = json!({ "type": "string" });
    let maybe = json!({ "type": ["string", "null"] });
    let count = json!({ "type": "integer", "minimum": 0 });
    let listed = |name: &str, of: &str| json!({ "type": "object", "required": [name], "properties": { name: { "type": "array", "items": schema(of) } } });
    let amount = json!({ "type": "number", "minimum": 0 });
    let mut workers = listed("workers", "Worker");
    workers["properties"]["summary"] = json!({ "type": "object" });
    workers["properties"]["endpointVersion"] = count.clone();
    let mut releases = listed("releases", "Release");
    releases["properties"]["rollout"] = json!({ "type": "object" });
    let all = json!({
        "Problem": {
            "type": "object", "required": ["title", "status", "detail"],
            "properties": {
                "title": text, "status": count, "detail": text, "reason": text,
                "errors": { "type": "array", "items": { "type": "object", "properties": { "path": text, "detail": text } } },
            },
        },
        "NewKey": { "type": "object", "additionalProperties": false, "properties": {
            "label": { "type": "string", "maxLength": 100, "pattern": "^[ -~]*$" },
            "endpoints": { "type": "array", "items": schema("Name"), "description": "All, and this API, unless given." },
        } },
        "NewEndpoint": { "type": "object", "required": ["image"], "additionalProperties": false, "properties": new },
        "EndpointChange": { "type": "object", "additionalProperties": false, "properties": settings() },
        "Endpoint": {
            "type": "object",
            "required": ["id", "name", "type", "image", "workers", "scaling", "requestUrls", "version", "createdAt"],
            "properties": {
                "id": schema("Name"), "name": text, "type": { "type": "string", "enum": ["QUEUE", "LOAD_BALANCER"] },
                "image": text, "version": count, "fromFile": { "type": "boolean" },
                "createdAt": { "type": "string", "format": "date-time" },
                "requestUrls": { "type": "object" }, "health": schema("Health"),
            },
        },
        "Endpoints": listed("endpoints", "Endpoint"),
        "Worker": {
            "type": "object", "required": ["id", "status", "isStale", "version"],
            "properties": {
                "id": text, "isStale": { "type": "boolean" }, "version": count, "gpuCount": count, "image": text,
                "status": { "type": "string", "enum": ["INITIALIZING", "IDLE", "RUNNING", "THROTTLED", "UNHEALTHY"] },
                "uptimeSeconds": { "type": ["integer", "null"] }, "startedAt": maybe, "host": maybe, "detail": maybe,
            },
        },
        "Workers": workers,
        "Release": {
            "type": "object", "required": ["id", "version", "createdAt", "diff"],
            "properties": {
                "id": text, "version": count, "workerCount": count, "createdAt": text, "status": text,
                "diff": { "type": "array", "items": { "type": "object", "required": ["field"] } },
            },
        },
        "Releases": releases,
        "Logs": {
            "type": "object", "required": ["lines"],
            "properties": { "lines": { "type": "array", "items": { "type": "object", "required": ["ts", "source", "line"],
                "properties": { "ts": text, "source": { "type": "string", "enum": ["container", "system"] }, "line": text } } } },
        },
        "Bill": {
            "type": "object", "required": ["serverlessId", "totalAmount"],
            "properties": {
                "serverlessId": text, "totalAmount": amount, "gpuAmount": amount, "cpuAmount": amount, "diskAmount": amount,
                "feeAmount": amount, "profiles": { "type": "object" }, "billedSeconds": { "type": "object" },
            },
        },
        "Bills": listed("records", "Bill"),
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}
