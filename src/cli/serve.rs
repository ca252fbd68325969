//! `serve FILE`: the endpoints of an application file on real machines, behind the platform's API.

mod config;

pub use config::{Overrides, data_dir, endpoint_configs, serve_config};
