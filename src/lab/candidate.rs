//! What can be given wherever a policy is wanted: a policy file, the name of a policy in the registry, a Starlark file, settings
//! typed in place, or one of two fixed words.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::policy::registry;
use crate::scenario::problem::suggestion;
use crate::scenario::{self, Overlay, Problem, Problems, Scenario, node::printable, read};

/// The word for the settings that the application file has by itself.
pub const AS_WRITTEN: &str = "as_written";
/// The word for the platform's own defaults.
pub const PLATFORM_DEFAULT: &str = "platform_default";
/// The folder of the policies that come with a project.
pub const FOLDER: &str = "policies";

/// A policy that can be laid over every endpoint of an application file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How it is called in tables.
    pub name: String,
    /// One line; may be empty.
    pub summary: String,
    /// Its settings; none for the file as it is.
    pub overlays: Vec<Overlay>,
}

impl Candidate {
    /// The application file as it is.
    pub fn as_written() -> Candidate {
        let summary = "the settings of the application file itself".to_owned();
        Candidate { name: AS_WRITTEN.to_owned(), summary, overlays: Vec::new() }
    }

    /// What a new endpoint has: queue delay 4 s, idle timeout 5 s, no active worker (RunPod docs, endpoint configurations).
    pub fn platform_default() -> Candidate {
        let endpoint = json!({ "scaler": { "type": "queue_delay", "delay_s": 4 }, "idle_timeout_s": 5, "active": 0 });
        Candidate::of_settings(PLATFORM_DEFAULT, "queue delay 4 s, idle timeout 5 s, no active worker", &endpoint)
    }

    /// A policy made of endpoint settings, such as `{"idle_timeout_s": 60}`.
    pub fn of_settings(name: &str, summary: &str, endpoint: &Json) -> Candidate {
        Candidate::of_all_settings(name, summary, endpoint, &serde_json::Map::new())
    }

    /// The same with settings that single endpoints have instead, by their names.
    pub fn of_all_settings(
        name: &str,
        summary: &str,
        endpoint: &Json,
        own: &serde_json::Map<String, Json>,
    ) -> Candidate {
        let text = json!({ "endpoint": endpoint, "endpoints": own }).to_string();
        let overlays = vec![Overlay { shown: format!("policy {name}"), text }];
        Candidate { name: name.to_owned(), summary: summary.to_owned(), overlays }
    }

    /// The same policy with further settings on top, under a name of its own.
    pub fn with_settings(&self, name: &str, endpoint: &Json) -> Candidate {
        let mut overlays = self.overlays.clone();
        overlays.extend(Candidate::of_settings(name, "", endpoint).overlays);
        Candidate { name: name.to_owned(), summary: self.summary.clone(), overlays }
    }

    /// What `typed` stands for: `as_written`, `platform_default`, a path ending in `.yaml`, `.yml` or `.star`, settings in
    /// braces, a policy of the registry (`request_count`; of another kind than scaling if the name is not a scaler's, or with the
    /// kind in front: `keep_alive:fixed`), or the name of a file in the folder `policies`.
    ///
    /// # Errors
    /// If there is no such thing, or the file is not a policy file.
    pub fn find(typed: &str) -> Result<Candidate, Problems> {
        match typed {
            AS_WRITTEN => return Ok(Candidate::as_written()),
            PLATFORM_DEFAULT => return Ok(Candidate::platform_default()),
            _ => {}
        }
        if typed.trim_start().starts_with('{') {
            let overlay = Overlay { shown: "policy in place".to_owned(), text: format!("endpoint: {typed}") };
            overlay.title()?;
            return Ok(Candidate { name: typed.to_owned(), summary: String::new(), overlays: vec![overlay] });
        }
        let ending = Path::new(typed).extension().and_then(|ending| ending.to_str());
        match ending {
            Some("yaml" | "yml") => Candidate::of_file(Path::new(typed)),
            Some("star") => Candidate::of_starlark(Path::new(typed)),
            _ => Candidate::of_registry(typed).map_or_else(|| of_folder(typed), Ok),
        }
    }

    /// The file in [`FOLDER`] that has settings for what was typed, where what was typed means the same policy with its defaults.
    pub fn file_beside(typed: &str) -> Option<PathBuf> {
        let file = Path::new(FOLDER).join(typed).with_extension("yaml");
        (Candidate::of_registry(typed).is_some() && file.is_file()).then_some(file)
    }

    /// A policy file.
    ///
    /// # Errors
    /// If it cannot be read or is not a policy file.
    pub fn of_file(path: &Path) -> Result<Candidate, Problems> {
        let shown = printable(&path.display().to_string());
        let overlay = Overlay { text: read::text(path, &shown)?, shown };
        let title = overlay.title()?;
        let name = title.name.unwrap_or_else(|| stem(path));
        let scripts = scripts_of(&overlay, path.parent().unwrap_or(Path::new("")))?;
        let overlays = std::iter::once(overlay).chain(scripts).collect();
        Ok(Candidate { name, summary: title.summary, overlays })
    }

    /// A scaler written in Starlark, with its defaults.
    fn of_starlark(path: &Path) -> Result<Candidate, Problems> {
        let shown = printable(&path.display().to_string());
        let text = read::text(path, &shown)?;
        let endpoint = json!({ "scaler": { "type": shown, "source": text } });
        Ok(Candidate::of_settings(&stem(path), &format!("the Starlark policy {shown}"), &endpoint))
    }

    fn of_registry(typed: &str) -> Option<Candidate> {
        let (kind, name) = typed.split_once(':').map_or((None, typed), |(kind, name)| (Some(kind), name));
        let (key, _, summary) = registered()
            .into_iter()
            .find(|(key, known, _)| *known == name && kind.is_none_or(|kind| *key == kind || kind == "scaling"))?;
        Some(Candidate::of_settings(typed, summary, &json!({ key: { "type": name } })))
    }

    /// Reads the application file at `path` with this policy over every endpoint.
    ///
    /// # Errors
    /// As [`scenario::load_with`].
    pub fn load(&self, path: &Path, overrides: &[String]) -> Result<Scenario, Problems> {
        scenario::load_with(path, &self.overlays, overrides)
    }
}

/// The policy file with the Starlark files that it names as text: an application file looks for them in its own folder, a policy
/// file means its own.
fn scripts_of(overlay: &Overlay, folder: &Path) -> Result<Option<Overlay>, Problems> {
    let own = overlay.own_settings()?;
    let mut found = false;
    let mut whole = |settings: &Json| -> Result<Json, Problems> {
        let mut settings = settings.clone();
        for key in ["scaler", "keep_alive"] {
            let Some(given) = settings.get(key) else { continue };
            let mut map = match given {
                Json::String(word) => serde_json::Map::from_iter([("type".to_owned(), Json::String(word.clone()))]),
                Json::Object(map) => map.clone(),
                _ => continue,
            };
            let name = map.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
            if !name.ends_with(".star") || map.contains_key("source") {
                continue;
            }
            let path = folder.join(&name);
            map.insert("source".to_owned(), Json::String(read::text(&path, &printable(&path.display().to_string()))?));
            settings[key] = Json::Object(map);
            found = true;
        }
        Ok(settings)
    };
    let own = own.iter().map(|(name, settings)| Ok((name.clone(), whole(settings)?)));
    let mut document = json!({ "endpoints": own.collect::<Result<serde_json::Map<String, Json>, Problems>>()? });
    let endpoint = whole(&overlay.settings()?)?;
    if !endpoint.is_null() {
        document["endpoint"] = endpoint;
    }
    Ok(found.then(|| Overlay { shown: overlay.shown.clone(), text: document.to_string() }))
}

/// Keys of an endpoint, names and summaries of everything in the registry that an endpoint chooses.
fn registered() -> Vec<(&'static str, &'static str, &'static str)> {
    let scalers = registry::SCALING.iter().map(|entry| ("scaler", entry.name, entry.summary));
    let keep_alive = registry::KEEP_ALIVE.iter().map(|entry| ("keep_alive", entry.name, entry.summary));
    let dispatch = registry::DISPATCH.iter().map(|entry| ("dispatch", entry.name, entry.summary));
    let placement = registry::PLACEMENT.iter().map(|entry| ("placement", entry.name, entry.summary));
    scalers.chain(keep_alive).chain(dispatch).chain(placement).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| printable(&stem.to_string_lossy()))
}

fn of_folder(typed: &str) -> Result<Candidate, Problems> {
    let path = Path::new(FOLDER).join(format!("{typed}.yaml"));
    if path.is_file() {
        return Candidate::of_file(&path);
    }
    let own = files(Path::new(FOLDER)).iter().map(|path| stem(path)).collect::<Vec<_>>();
    let mut known: Vec<&str> = vec![AS_WRITTEN, PLATFORM_DEFAULT];
    known.extend(registered().iter().map(|(_, name, _)| *name));
    known.extend(own.iter().map(String::as_str));
    let fix = suggestion(typed, known.iter().copied())
        .unwrap_or_else(|| "`thermocline policy list` shows the registry".to_owned());
    Err(Problem {
        place: format!("policy {}", printable(typed)),
        path: String::new(),
        found: "no such policy".to_owned(),
        allowed: "a policy file (.yaml), a Starlark file (.star), settings in braces, a name in the registry, \
                  as_written, platform_default"
            .to_owned(),
        fix,
    }
    .into())
}

/// The policy files of a folder, in order of name; none if there is no such folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_policy = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yaml");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_policy).collect();
    paths.sort();
    paths
}

/// The policies that are compared when none is named: those of the folder `policies`, or else the scalers of the registry; the
/// platform's defaults first.
///
/// # Errors
/// If a file of the folder is not a policy file.
pub fn usual(folder: &Path) -> Result<Vec<Candidate>, Problems> {
    let files = files(folder);
    let mut all = files.iter().map(|path| Candidate::of_file(path)).collect::<Result<Vec<_>, _>>()?;
    if files.is_empty() {
        all.extend(registry::SCALING.iter().filter_map(|entry| Candidate::of_registry(entry.name)));
    }
    match all.iter().position(|candidate| candidate.name == PLATFORM_DEFAULT) {
        Some(place) => all[..=place].rotate_right(1),
        None => all.insert(0, Candidate::platform_default()),
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "{max_jobs: 9, endpoints: {a: {preset: embedding, traffic: {type: poisson, rate_per_s: 1}}}}";

    fn scenario(typed: &str) -> Scenario {
        let candidate = Candidate::find(typed).unwrap_or_else(|problems| panic!("{problems}"));
        scenario::from_str_with(APP, "app.yaml", Path::new("."), &candidate.overlays, &[])
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn every_way_to_name_a_policy_reaches_the_plan() {
        let spec = |typed: &str| scenario(typed).plan.endpoints[0].spec.policies.clone();
        assert_eq!(spec("request_count").scaling.name, "request_count");
        assert_eq!(spec("infinite").keep_alive.name, "infinite");
        assert_eq!(spec("keep_alive:fixed").scaling.name, "queue_delay");
        assert_eq!(spec("{idle_timeout_s: 33}").keep_alive.params.len(), 1);
        assert_eq!(spec(AS_WRITTEN), spec(PLATFORM_DEFAULT), "this file says nothing of its own");
    }

    #[test]
    fn the_scalers_of_the_registry_are_the_usual_ones_where_there_is_no_folder() {
        let usual = usual(Path::new("no-such-folder")).unwrap();
        assert_eq!((usual[0].name.as_str(), usual.len()), (PLATFORM_DEFAULT, registry::SCALING.len() + 1));
    }

    #[test]
    fn a_policy_file_brings_its_scripts_along() {
        let folder = std::env::temp_dir().join(format!("thermocline-candidate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("p.yaml"), "name: p\nendpoint: {scaler: {type: q.star, x: 1}, active: 1}\n")
            .unwrap();
        assert!(Candidate::of_file(&folder.join("p.yaml")).unwrap_err().to_string().contains("q.star: no such file"));
        std::fs::write(folder.join("q.star"), "def advise(obs, state, params):\n    return 1\n").unwrap();
        let candidate = Candidate::of_file(&folder.join("p.yaml")).unwrap();
        let scaler = candidate.overlays[1].settings().unwrap()["scaler"].clone();
        assert_eq!(
            (&scaler["x"], scaler["source"].as_str().map(|text| text.contains("def advise"))),
            (&json!(1), Some(true))
        );
        std::fs::write(folder.join("p.yaml"), "name: p\nendpoints: {a: {scaler: q.star}, b: {active: 1}}\n").unwrap();
        let own = Candidate::of_file(&folder.join("p.yaml")).unwrap().overlays[1].own_settings().unwrap();
        assert!(own["a"]["scaler"]["source"].is_string() && own["b"] == json!({ "active": 1 }), "{own:?}");
        let usual: Vec<String> = usual(&folder).unwrap().into_iter().map(|candidate| candidate.name).collect();
        assert_eq!(usual, [PLATFORM_DEFAULT, "p"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_no_policy_is_refused_with_a_way_out() {
        let message = Candidate::find("request_cuont").unwrap_err().to_string();
        assert!(message.contains("did you mean `request_count`?"), "{message}");
        assert!(Candidate::find("no/such.yaml").unwrap_err().to_string().contains("no such file"));
        assert!(Candidate::find("no/such.star").unwrap_err().to_string().contains("no such file"));
        assert!(Candidate::find("{traffic: 3}").unwrap_err().to_string().contains("endpoint.traffic"));
    }
}
