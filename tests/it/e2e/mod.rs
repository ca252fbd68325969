//! End to end: the real binary serves, the unmodified worker SDK of the platform works, its unmodified client asks.
//!
//! Method: each test writes an application file, starts `thermocline serve` on a free port with a data folder of its own, and
//! looks at it from outside only: the API, the SDK's client, the process table. Everything started is killed when the test
//! ends, panics included. Needs the Python environment of `venv.sh`; without it the tests say so and pass, unless
//! `THERMOCLINE_REQUIRE` has `python`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "these tests drive real processes by the wall clock, and say why they skip or fail"
)]

mod bucket;
mod client;
mod docker;
mod faults;
mod gateway_killed;
mod harness;
mod http;
mod openapi;
mod patterns;
mod processes;
mod puppet;
mod python;
mod rehearse;
mod releases;
mod scaling;
mod traps;
