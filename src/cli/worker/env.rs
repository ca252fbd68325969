//! `worker env FILE ENDPOINT`: the environment for a worker that somebody else starts (launcher `external`).
//!
//! The token is the endpoint's join token: whoever has it may be a worker of this endpoint under a name of their own. It is made
//! from the secret of the store, which is read as it is; a running gateway does not mind.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::serve::{Overrides, data_dir};
use super::{Failure, output};
use crate::real::config::store_path;
use crate::real::ids::{TokenKey, hex, is_id, parse_worker_name, random_bytes};
use crate::real::store::sqlite::look;
use crate::scenario::serving;

/// What can be typed after `worker env`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  env $(thermocline worker env app.yaml sdxl) python handler.py
  docker run --env-file <(thermocline worker env app.yaml sdxl --url http://10.0.0.5:8080) IMAGE")]
pub struct EnvArgs {
    /// Application file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Endpoint whose jobs the worker is to run
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Where the worker reaches the gateway; `serve.worker_url` of the file unless given, or where the gateway listens
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Name of the worker, no other one may have it at the same time; a fresh one unless given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Data folder of the gateway; that of the file unless given
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value = "plain")]
    format: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// NAME=value, for `docker run --env-file`
    Plain,
    /// export NAME='value', for a shell
    Shell,
    /// A JSON object
    Json,
}

/// Prints the variables.
pub fn run(args: &EnvArgs) -> Result<(), Failure> {
    let serving = serving::load(&args.file, &[])?;
    let known: Vec<&str> = serving.plan.endpoints.iter().map(|endpoint| endpoint.spec.name.as_str()).collect();
    if !known.contains(&args.endpoint.as_str()) {
        let found = crate::scenario::node::clean(&args.endpoint);
        return Err(Failure::input(format!("no endpoint `{found}`; allowed: {}", known.join(", "))));
    }
    let name = args.name.clone().unwrap_or_else(|| format!("ext-{}", hex(&random_bytes()[..6])));
    if !is_id(&name) || parse_worker_name(&name).is_some() {
        let allowed = "1 to 64 letters, digits, `-` or `_`, and not the form `w1-1` of the gateway's own workers";
        return Err(Failure::input(format!("--name `{}`; allowed: {allowed}", crate::scenario::node::clean(&name))));
    }
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    let Some(folder) = data_dir(&serving, &overrides) else {
        let text = "the gateway keeps its secret in memory (`store: memory`): nobody else can make a token";
        return Err(Failure::input(text));
    };
    let url = args.url.clone().or_else(|| serving.plan.serve.worker_url.clone());
    let url = url.unwrap_or_else(|| format!("http://{}", serving.plan.serve.listen.replace("0.0.0.0", "127.0.0.1")));
    let secret = secret(&store_path(&folder))?;
    print(args.format, &variables(url.trim_end_matches('/'), &args.endpoint, &name, &TokenKey::new(secret)))
}

fn secret(path: &std::path::Path) -> Result<[u8; 32], Failure> {
    if !path.exists() {
        let path = path.display();
        return Err(Failure::input(format!("{path}: no store yet; start the gateway once with `thermocline serve`")));
    }
    let found = look::named_value(path, "secret").map_err(Failure::other)?;
    found.and_then(|bytes| bytes.as_ref().try_into().ok()).ok_or_else(|| {
        Failure::input(format!("{}: no secret yet; start the gateway once with `thermocline serve`", path.display()))
    })
}

fn variables(base: &str, endpoint: &str, name: &str, tokens: &TokenKey) -> Vec<(&'static str, String)> {
    let at = |operation: &str| format!("{base}/v2/{endpoint}/{operation}?gpu=worker");
    vec![
        ("RUNPOD_WEBHOOK_GET_JOB", at("job-take/$ID")),
        ("RUNPOD_WEBHOOK_POST_OUTPUT", at("job-done/$RUNPOD_POD_ID/$ID")),
        ("RUNPOD_WEBHOOK_POST_STREAM", at("job-stream/$RUNPOD_POD_ID/$ID")),
        ("RUNPOD_WEBHOOK_PING", at("ping/$RUNPOD_POD_ID")),
        ("RUNPOD_PING_INTERVAL", "10000".to_owned()),
        ("RUNPOD_POD_ID", name.to_owned()),
        ("RUNPOD_POD_HOSTNAME", name.to_owned()),
        ("RUNPOD_AI_API_KEY", tokens.token(&format!("join:{endpoint}"))),
        ("RUNPOD_ENDPOINT_ID", endpoint.to_owned()),
    ]
}

fn print(format: Form, variables: &[(&'static str, String)]) -> Result<(), Failure> {
    match format {
        Form::Plain => {
            output::answer(&variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>())
        }
        Form::Shell => {
            let quoted = |value: &str| value.replace('\'', r"'\''");
            let lines = variables.iter().map(|(name, value)| format!("export {name}='{}'\n", quoted(value)));
            output::answer(&lines.collect::<String>())
        }
        Form::Json => {
            let map: serde_json::Map<_, _> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
            output::answer_json(&map)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Settings;

    #[test]
    fn a_worker_understands_what_is_printed() {
        let tokens = TokenKey::new([1; 32]);
        let all = variables("http://gate:80", "a", "box", &tokens);
        let settings =
            Settings::read(|name| all.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()));
        let settings = settings.expect("it is complete");
        assert_eq!(settings.take_url(1, false), "http://gate:80/v2/a/job-take/box?gpu=worker&job_in_progress=0");
        assert_eq!(settings.done_url("j-1", false), "http://gate:80/v2/a/job-done/box/j-1?gpu=worker&isStream=false");
        assert!(tokens.check("join:a", settings.token.as_deref().unwrap_or_default()));
    }
}
