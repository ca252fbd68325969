//! The command line: one file per verb. Here: what can be typed, and what becomes of an error.
//!
//! The answer goes to stdout; progress and notes go to stderr. Exit codes: 0 done, 1 a failure of ours, 2 bad input (a wrong
//! flag, a file with mistakes, an id that does not exist). A reader that closes the pipe early (`| head`) is not an error.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the command line is where arguments, environment and the wall clock (for progress) come in"
)]

mod advise;
mod bound;
mod calibrate;
mod client;
mod compare;
mod completions;
mod config;
mod doctor;
mod endpoints;
mod explain;
mod init;
mod jobs;
mod keys;
mod logging;
mod logs;
mod man;
pub mod output;
mod policy;
mod progress;
mod replay;
mod report;
mod run;
mod schema;
mod serve;
mod sweep;
mod top;
mod trace;
mod transcripts;
mod tune;
mod under;
mod validate;
mod worker;
mod workers;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::experiment::RunError;
use crate::policy::ParamError;
use crate::results::OutputError;
use crate::scenario::Problems;
use crate::sim::SimError;

/// Why a verb ended without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was typed or a file that was named is wrong; exit code 2. Says where, what was found, what is allowed.
    Input(String),
    /// Everything else that can go wrong (disk full, no permission); exit code 1.
    Other(String),
    /// Whoever read our output has had enough; exit code 0, nothing is printed.
    OutputClosed,
}

impl Failure {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Input(_) => 2,
            Failure::Other(_) => 1,
            Failure::OutputClosed => 0,
        }
    }

    /// Bad input, in the words of `message`.
    pub fn input(message: impl fmt::Display) -> Failure {
        Failure::Input(message.to_string())
    }

    /// Bad input in a file that cannot be opened or read.
    pub fn in_file(path: &Path, error: &dyn fmt::Display) -> Failure {
        Failure::input(format!("{}: {error}", path.display()))
    }

    /// A failure of ours, in the words of `message`.
    pub fn other(message: impl fmt::Display) -> Failure {
        Failure::Other(message.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(message) | Failure::Other(message) => f.write_str(message),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Other(error.to_string()),
        }
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::input(error)
    }
}

/// Whatever a simulation refuses was asked for by a file.
impl From<SimError> for Failure {
    fn from(error: SimError) -> Failure {
        Failure::input(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Sim(error) => error.into(),
            RunError::Output(error @ OutputError::Exists { .. }) => Failure::input(error),
            RunError::Output(error) => Failure::other(error),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Failure {
        Failure::input(problems)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::other(error)
    }
}

/// Rehearse a serverless GPU endpoint before you pay for it.
#[derive(Debug, Parser)]
#[command(name = "thermocline", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Try: thermocline run scenarios/quickstart.yaml")]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Simulate application files and print what came out
    Run(run::RunArgs),
    /// Hold policies against each other: cost, waits, who is significantly better
    Compare(compare::CompareArgs),
    /// Run a scenario at many points of its settings
    Sweep(sweep::SweepArgs),
    /// Find the cheapest settings that hold a promise, and check them on data that they were not found on
    Tune(tune::TuneArgs),
    /// Make a page, pictures or tables of what run or compare wrote
    Report(report::ReportArgs),
    /// Check application files: every mistake with its place and a fix
    Validate(validate::ValidateArgs),
    /// Print every setting of an application file with its source
    Config(config::ConfigArgs),
    /// Print the JSON Schema of application files
    Schema(schema::SchemaArgs),
    /// List the policies, or show one with its parameters
    Policy(policy::PolicyArgs),
    /// Tell why a worker, a job or an endpoint did what it did
    Explain(explain::ExplainArgs),
    /// Look at a trace of requests, or import a public one
    Trace(trace::TraceArgs),
    /// Write an application file to begin with
    Init(init::InitArgs),
    /// Serve the endpoints of an application file for real
    Serve(serve::ServeArgs),
    /// Look for what this machine lacks to serve
    Doctor(doctor::DoctorArgs),
    /// Be a worker that does next to nothing, or print what a worker started by hand needs
    Worker(worker::WorkerArgs),
    /// Submit, look at, cancel and retry jobs at a running gateway
    Jobs(jobs::JobsArgs),
    /// List the workers of a running gateway
    Workers(workers::WorkersArgs),
    /// Print the log of a worker of a running gateway
    Logs(logs::LogsArgs),
    /// List, show and delete the endpoints of a running gateway; their releases and bills
    Endpoints(endpoints::EndpointsArgs),
    /// Watch a running gateway
    Top(top::TopArgs),
    /// Measure how a live gateway's workers start and its jobs run, for rehearsals
    Calibrate(calibrate::CalibrateArgs),
    /// Make, list and revoke API keys
    Keys(keys::KeysArgs),
    /// Tell what nobody could do it for, and what could be saved by what
    Bound(bound::BoundArgs),
    /// From a plain request log to an endpoint's settings, its bill and its waits
    Advise(advise::AdviseArgs),
    /// Tell a recorded transcript again, or ask what would have been under other settings
    Replay(replay::ReplayArgs),
    /// Print the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one page per verb
    Man(man::ManArgs),
}

impl Verb {
    fn run(&self) -> Result<(), Failure> {
        match self {
            Verb::Run(args) => run::run(args),
            Verb::Compare(args) => compare::run(args),
            Verb::Sweep(args) => sweep::run(args),
            Verb::Tune(args) => tune::run(args),
            Verb::Report(args) => report::run(args),
            Verb::Validate(args) => validate::run(args),
            Verb::Config(args) => config::run(args),
            Verb::Schema(args) => schema::run(args),
            Verb::Policy(args) => policy::run(args),
            Verb::Explain(args) => explain::run(args),
            Verb::Trace(args) => trace::run(args),
            Verb::Init(args) => init::run(args),
            Verb::Serve(args) => serve::run(args),
            Verb::Doctor(args) => doctor::run(args),
            Verb::Worker(args) => worker::run(args),
            Verb::Jobs(args) => jobs::run(args),
            Verb::Workers(args) => workers::run(args),
            Verb::Logs(args) => logs::run(args),
            Verb::Endpoints(args) => endpoints::run(args),
            Verb::Top(args) => top::run(args),
            Verb::Calibrate(args) => calibrate::run(args),
            Verb::Keys(args) => keys::run(args),
            Verb::Bound(args) => bound::run(args),
            Verb::Advise(args) => advise::run(args),
            Verb::Replay(args) => replay::run(args),
            Verb::Completions(args) => completions::run(args),
            Verb::Man(args) => man::run(args),
        }
    }
}

/// The whole command, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the process's arguments, runs the verb, prints an error if there is one.
pub fn main() -> ExitCode {
    run_with(std::env::args_os())
}

fn run_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers (0); everything else clap says is bad input (2). A closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match cli.verb.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure != Failure::OutputClosed {
                // One mistake, one line: every line can be jumped to by an editor.
                failure.to_string().lines().for_each(|line| output::note(&format!("error: {line}")));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit_code(), failure), (0, Failure::OutputClosed));
    }
}
