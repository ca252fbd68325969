//! `keys`: API keys of a gateway. They are made in its store while it is down, and through its management API while it runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs, DEFAULT_URL, answer, cell, list, managed, table};
use super::serve::{Overrides, data_dir};
use super::{Failure, output};
use crate::real::config::store_path;
use crate::real::ids::is_id;
use crate::real::keys::{create, revoke};
use crate::real::store::sqlite::SqliteStore;
use crate::real::store::{KeyRow, Store, Write};
use crate::scenario::node::printable;
use crate::scenario::serving;

/// What can be typed after `keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    verb: KeysVerb,
    /// Application file, which tells the data folder
    #[arg(long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,
    /// Data folder of the gateway; that of the file, or ./.thermocline, unless given
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "file")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KeysVerb {
    /// Make a key; it is shown once
    Create {
        /// What it is for, for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
        /// Good for this endpoint only; may be given several times; all endpoints and the management API unless given
        #[arg(long = "endpoint", value_name = "ENDPOINT")]
        endpoints: Vec<String>,
    },
    /// Every key, without the keys themselves
    List,
    /// Make a key worthless from now on
    Revoke {
        /// Its id, as in `keys list`
        id: String,
    },
}

/// Where keys are made.
enum Place {
    /// In the store, of which nobody else has hold.
    Store(Box<SqliteStore>),
    /// By the gateway that runs.
    Gateway(Client),
}

pub(super) fn run(args: &KeysArgs) -> Result<(), Failure> {
    if let KeysVerb::Create { label, endpoints } = &args.verb {
        check(label, endpoints)?;
    }
    match place(args)? {
        Place::Store(store) => in_store(*store, args),
        Place::Gateway(client) => by_gateway(&client, args),
    }
}

fn check(label: &str, endpoints: &[String]) -> Result<(), Failure> {
    if label.chars().count() > 100 || label.chars().any(char::is_control) {
        return Err(Failure::input("--label: allowed: at most 100 characters, none of them a control character"));
    }
    match endpoints.iter().find(|endpoint| !is_id(endpoint)) {
        Some(wrong) => {
            let wrong = printable(wrong);
            Err(Failure::input(format!("--endpoint {wrong}: allowed: 1 to 64 letters, digits, `-` or `_`")))
        }
        None => Ok(()),
    }
}

fn place(args: &KeysArgs) -> Result<Place, Failure> {
    if args.client.given_url().is_some() {
        return Ok(Place::Gateway(Client::new(&args.client)?));
    }
    let mut address = DEFAULT_URL.to_owned();
    let (folder, sure) = match (&args.data_dir, &args.file) {
        (Some(folder), _) => (folder.clone(), true),
        (None, Some(file)) => {
            let serving = serving::load(file, &[])?;
            let scheme = if serving.plan.serve.tls.is_some() { "https" } else { "http" };
            address = format!("{scheme}://{}", serving.plan.serve.listen.replace("0.0.0.0", "127.0.0.1"));
            let Some(folder) = data_dir(&serving, &Overrides::default()) else {
                let fix = "ask the gateway that runs: give --url";
                return Err(Failure::input(format!("`store: memory` keeps nothing on disk; {fix}")));
            };
            (folder, true)
        }
        (None, None) => (PathBuf::from(".thermocline"), false),
    };
    let path = store_path(&folder);
    if !sure && !path.exists() {
        let path = printable(&path.display().to_string());
        return Err(Failure::input(format!("{path}: no store here; give --file, --data-dir or --url")));
    }
    match SqliteStore::open(&path) {
        Ok(store) => Ok(Place::Store(Box::new(store))),
        Err(error) => {
            // Most likely a gateway has hold of it: then that one is asked.
            let client = Client::new(&ClientArgs { url: Some(address), ..args.client.clone() })?;
            if client.answers() { Ok(Place::Gateway(client)) } else { Err(Failure::other(error)) }
        }
    }
}

fn in_store(mut store: SqliteStore, args: &KeysArgs) -> Result<(), Failure> {
    // Nothing is written to a store that is damaged.
    store.load().map_err(Failure::other)?;
    let known = store.reader().keys().map_err(Failure::other)?;
    match &args.verb {
        KeysVerb::Create { label, endpoints } => {
            let (key, row) = create(label, endpoints.clone());
            let mut shown = document(&row);
            store.commit(&[Write::Key(Box::new(row))]).map_err(Failure::other)?;
            shown["key"] = json!(key);
            created(args.json, &shown)
        }
        KeysVerb::List => {
            let keys: Vec<Value> = known.iter().map(document).collect();
            answer(args.json, &json!({ "keys": keys }), listing)
        }
        KeysVerb::Revoke { id } => {
            let row = known.iter().find(|row| row.id == *id);
            let row = row.ok_or_else(|| Failure::input(format!("no key `{}`; see `keys list`", printable(id))))?;
            store.commit(&[Write::Key(Box::new(revoke(row)))]).map_err(Failure::other)?;
            output::answer("revoked\n")
        }
    }
}

fn by_gateway(client: &Client, args: &KeysArgs) -> Result<(), Failure> {
    match &args.verb {
        KeysVerb::Create { label, endpoints } => {
            let body = json!({ "label": label, "endpoints": endpoints });
            created(args.json, &client.post(&managed(&["keys"]), &body)?)
        }
        KeysVerb::List => answer(args.json, &client.get(&managed(&["keys"]))?, listing),
        KeysVerb::Revoke { id } => {
            client.delete(&managed(&["keys", id]))?;
            output::answer("revoked\n")
        }
    }
}

/// A key as the management API shows it.
fn document(row: &KeyRow) -> Value {
    json!({
        "id": row.id, "label": row.label, "endpoints": row.endpoints, "createdMs": row.created_ms,
        "revokedMs": row.revoked_ms,
    })
}

fn created(json: bool, shown: &Value) -> Result<(), Failure> {
    if json {
        return output::answer_json(shown);
    }
    output::note("this is the only time that the key is shown");
    output::answer(&format!("{}\n", cell(&shown["key"])))
}

fn listing(page: &Value) -> String {
    let row = |key: &Value| {
        let endpoints: Vec<String> = list(&key["endpoints"], "").iter().map(cell).collect();
        let good_for = if endpoints.is_empty() { "everything".to_owned() } else { endpoints.join(", ") };
        let state = if key["revokedMs"].is_null() { "good" } else { "revoked" };
        vec![cell(&key["id"]), state.to_owned(), good_for, cell(&key["label"])]
    };
    let keys = list(page, "keys");
    if keys.is_empty() {
        return "no keys\n".to_owned();
    }
    table(&["id", "state", "good for", "label"], keys.iter().map(row).collect())
}
