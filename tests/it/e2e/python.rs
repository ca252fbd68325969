//! The Python environment of the end-to-end tests, and scripts that use the SDK's client in it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest run of a script.
const PATIENCE: Duration = Duration::from_secs(600);

/// The folder of `venv.sh`, if it has been made. A test that gets `None` ends here, having said so.
///
/// # Panics
/// When `THERMOCLINE_REQUIRE` has `python` and there is none.
pub fn environment() -> Option<PathBuf> {
    let folder = match std::env::var("THERMOCLINE_VENV") {
        Ok(folder) => PathBuf::from(folder),
        Err(_) => PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".cache/thermocline/venv"),
    };
    if folder.join("requirements.txt").exists() {
        return Some(folder);
    }
    let required = std::env::var("THERMOCLINE_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|what| what == "python"),
        "THERMOCLINE_REQUIRE=python, but tests/it/e2e/venv.sh has not made {}",
        folder.display()
    );
    eprintln!("skipped: no Python environment; tests/it/e2e/venv.sh makes it");
    None
}

/// Runs `script` with the SDK pointed at `url`; its variable `answer` comes back.
///
/// # Panics
/// When the script fails: with all it printed.
pub fn sdk(venv: &Path, url: &str, script: &str) -> Value {
    let script = format!(
        "import asyncio, json, sys, time\nimport runpod\nrunpod.endpoint_url_base = '{url}/v2'\nrunpod.api_key = 'local'\n{}\n\
         print('\\nANSWER ' + json.dumps(answer))",
        dedent(script)
    );
    let output = run(Command::new(venv.join("bin/python")).args(["-c", &script]));
    let answer = output.rsplit_once("\nANSWER ").unwrap_or_else(|| panic!("no answer in:\n{output}")).1;
    serde_json::from_str(answer.trim()).expect("the script prints JSON")
}

/// Stdout of a command that must succeed within [`PATIENCE`].
///
/// # Panics
/// When it does not: with all it printed.
pub fn run(command: &mut Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let written = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let (stdout, stderr) = (written.join().expect("reads"), read.join().expect("reads"));
    assert!(
        status.is_some_and(|status| status.success()),
        "{command:?}\nended with {status:?} (none: not within {PATIENCE:?})\n{stdout}\n{stderr}"
    );
    stdout
}

/// Takes away the indentation that all lines share.
fn dedent(script: &str) -> String {
    let lines = || script.lines().filter(|line| !line.trim().is_empty());
    let indent = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    script.lines().map(|line| line.get(indent..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}
