//! `--set path=value`: one setting changed from the command line, before presets and defaults.

use super::check::unfold_word;
use super::node::{Node, Origin, Sources, Value, clean};
use super::parse::parse;
use super::problem::{Problem, Problems, suggestion};

/// Sections whose entries must exist (or be given whole), so that a misspelt name does not become a new endpoint.
const NAMED: [(&str, &str); 3] = [("endpoints", "endpoint"), ("hosts", "group of hosts"), ("images", "image")];
/// Settings that may be a word alone and have keys of their own as well.
const UNFOLD: [&str; 5] = ["scaler", "keep_alive", "dispatch", "placement", "eviction"];

/// Applies `overrides` in their order; all that are wrong are reported.
pub fn apply(root: &mut Node, overrides: &[String], sources: &mut Sources) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for text in overrides {
        let index = u16::try_from(sources.sets.len()).unwrap_or(u16::MAX);
        sources.sets.push(clean(text));
        let result = one(root, text, index);
        for problem in result.err().iter().flat_map(Problems::listed) {
            problems.push(problem.clone());
        }
    }
    problems.check()
}

fn one(root: &mut Node, text: &str, index: u16) -> Result<(), Problems> {
    let place = format!("--set {}", clean(text));
    let problem = |path: &str, found: String, allowed: &str, fix: &str| {
        let (path, allowed, fix) = (clean(path), allowed.to_owned(), fix.to_owned());
        Problem { place: place.clone(), path, found, allowed, fix }
    };
    let Some((path, value)) = text.split_once('=') else {
        return Err(problem("", "no `=`".to_owned(), "path=value, such as `seed=7`", "").into());
    };
    let Some(steps) = steps(path.trim()) else {
        return Err(problem(path, "an empty step".to_owned(), "names and indices with dots between", "").into());
    };
    let value = parse(value, &place, &|_, _| Origin::Set { index }).map_err(|problems| {
        let found = problems.listed().first().map_or_else(String::new, |problem| problem.found.clone());
        problem(path, format!("the value is {found}"), "a YAML value", "put texts with special characters in quotes")
    })?;
    // An empty value parses as an empty map; "nothing" is what was typed.
    let value = if text.ends_with('=') { Node::new(Value::Null, value.origin) } else { value };
    place_value(root, &steps, value, &problem)
}

/// `endpoints."a.b".workers.max` to its steps.
fn steps(path: &str) -> Option<Vec<String>> {
    let mut steps = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => steps.push(String::new()),
            c => steps.last_mut()?.push(c),
        }
    }
    (!quoted && steps.iter().all(|step| !step.is_empty())).then_some(steps)
}

fn place_value(
    root: &mut Node,
    steps: &[String],
    value: Node,
    problem: &dyn Fn(&str, String, &str, &str) -> Problem,
) -> Result<(), Problems> {
    let mut here = root;
    for (depth, step) in steps.iter().enumerate() {
        let so_far = steps[..depth].join(".");
        let last = depth + 1 == steps.len();
        if depth > 0 && UNFOLD.contains(&steps[depth - 1].as_str()) {
            unfold_word(here, "type");
        }
        if let Value::List(items) = &here.value {
            let count = items.len();
            let named = items.iter().position(|item| item.get("name").and_then(Node::as_text) == Some(step));
            let index = named.or_else(|| step.parse().ok()).filter(|index| *index < count);
            let Some(index) = index else {
                let names: Vec<&str> = items.iter().filter_map(|item| item.get("name")?.as_text()).collect();
                let allowed = match (count, names.is_empty()) {
                    (0, _) => "the list is empty".to_owned(),
                    (_, true) => format!("0 to {}", count - 1),
                    (_, false) => names.join(", "),
                };
                return Err(problem(&so_far, format!("no entry `{}`", clean(step)), &allowed, "").into());
            };
            let Value::List(items) = &mut here.value else { return Ok(()) };
            here = &mut items[index];
        } else {
            if here.as_map().is_none() {
                let found = format!("`{}` below {}, which has no keys", clean(step), here.shown());
                return Err(problem(&so_far, found, "a path to what exists", "").into());
            }
            // An entry that does not exist can be given whole (`endpoints.new={...}`), but not by one of its settings.
            let section = NAMED.iter().find(|(section, _)| depth == 1 && *section == steps[0]);
            if let (Some((_, noun)), None, false) = (section, here.get(step), last) {
                let known = here.as_map().map(super::node::Map::keys).unwrap_or_default();
                let fix = suggestion(step, known.iter().copied()).unwrap_or_default();
                let allowed = if known.is_empty() { "the file has none".to_owned() } else { known.join(", ") };
                return Err(problem(&so_far, format!("no {noun} `{}`", clean(step)), &allowed, &fix).into());
            }
            let origin = value.origin.clone();
            let Some(map) = here.as_map_mut() else { return Ok(()) };
            map.set_if_absent(step, || Node::map(origin));
            let Some(next) = map.get_mut(step) else { return Ok(()) };
            here = next;
        }
    }
    *here = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply_to(text: &str, sets: &[&str]) -> Result<String, String> {
        let mut root = parse(text, "app.yaml", &|line, column| Origin::File { file: 0, line, column }).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let mut sources = Sources::default();
        apply(&mut root, &sets, &mut sources).map_err(|problems| problems.to_string())?;
        Ok(root.to_json().to_string())
    }

    #[test]
    fn values_are_yaml_and_paths_go_through_maps_lists_and_words() {
        let file = "{seed: 1, endpoints: {a: {scaler: queue_delay, traffic: [{type: poisson, rate_per_s: 1}]}}}";
        let changed = apply_to(
            file,
            &[
                "seed=7",
                "endpoints.a.scaler.delay_s=2",
                "endpoints.a.traffic.0.rate_per_s=0.5",
                "endpoints.a.workers={max: 9}",
            ],
        );
        let expected = r#"{"seed":7,"endpoints":{"a":{"scaler":{"type":"queue_delay","delay_s":2},"traffic":[{"type":"poisson","rate_per_s":0.5}],"workers":{"max":9}}}}"#;
        assert_eq!(changed.unwrap(), expected);
    }

    #[test]
    fn what_does_not_exist_is_named_with_what_does() {
        let file = "{endpoints: {sdxl: {traffic: [{type: poisson}]}}}";
        let error = |set: &str| apply_to(file, &[set]).unwrap_err();
        assert_eq!(
            error("endpoints.sdxk.workers.max=1"),
            "--set endpoints.sdxk.workers.max=1: endpoints: no endpoint `sdxk`; allowed: sdxl; did you mean `sdxl`?"
        );
        assert_eq!(
            error("endpoints.sdxl.traffic.3.rate=1"),
            "--set endpoints.sdxl.traffic.3.rate=1: endpoints.sdxl.traffic: no entry `3`; allowed: 0 to 0"
        );
        assert_eq!(error("seed"), "--set seed: no `=`; allowed: path=value, such as `seed=7`");
        assert_eq!(error("a..b=1"), "--set a..b=1: a..b: an empty step; allowed: names and indices with dots between");
    }
}
