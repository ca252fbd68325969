//! `worker`: built-in workers that do next to nothing, to try an endpoint without an image; and the environment that a worker
//! started by hand needs.

mod env;
mod http;
mod play;

use std::time::Duration;

use super::logging::{self, LogFormat};
use super::{Failure, output};
use crate::worker::{Context, Job, Worker};
use clap::{Args, Subcommand};

/// What can be typed after `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(subcommand)]
    verb: WorkerVerb,
}

#[derive(Debug, Subcommand)]
enum WorkerVerb {
    /// Answer each job with its input
    #[command(after_help = play::ECHO_HELP)]
    Echo {
        #[command(flatten)]
        common: Common,
        /// Answer HTTP requests on the port PORT instead: the worker of a load-balancing endpoint
        #[arg(long)]
        http: bool,
    },
    /// Sleep for as long as the job's `input.seconds` says
    Sleep {
        #[command(flatten)]
        common: Common,
        /// Seconds for jobs that do not say
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
        seconds: f64,
    },
    /// Keep a CPU busy for as long as the job's `input.seconds` says
    Burn {
        #[command(flatten)]
        common: Common,
        /// Seconds for jobs that do not say
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
        seconds: f64,
    },
    /// Print the environment for a worker that somebody else starts
    Env(env::EnvArgs),
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// Jobs at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Time before the worker says its first word, to imitate a cold start
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds)]
    start_seconds: f64,
}

pub(super) fn run(args: &WorkerArgs) -> Result<(), Failure> {
    match &args.verb {
        WorkerVerb::Echo { common, http: true } => http::serve(Duration::from_secs_f64(common.start_seconds)),
        WorkerVerb::Echo { common, http: false } => serve(common, play::echo),
        WorkerVerb::Sleep { common, seconds } => {
            let otherwise = *seconds;
            serve(common, move |job: Job, _: Context| async move {
                let length = play::length(&job.input, otherwise)?;
                play::rest(length).await;
                Ok(play::slept(length))
            })
        }
        WorkerVerb::Burn { common, seconds } => {
            let otherwise = *seconds;
            serve(common, move |job: Job, context: Context| play::burn(job, context, otherwise))
        }
        WorkerVerb::Env(args) => env::run(args),
    }
}

fn serve(common: &Common, handler: impl crate::worker::Handler) -> Result<(), Failure> {
    logging::start(LogFormat::Text);
    let start = Duration::from_secs_f64(common.start_seconds);
    let worker = Worker::from_env().map_err(Failure::input)?;
    let worker = worker.concurrency(common.concurrency as usize).start_time(start);
    worker.run(handler).map_err(Failure::other)
}

/// A length of time on the command line: 0 to a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("allowed: seconds from 0 to 86400".to_owned()),
    }
}
