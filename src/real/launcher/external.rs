//! Hosts whose workers somebody else starts: nothing is launched and nothing can be stopped by us.
//!
//! Such workers make themselves known by their first take. A stop is complete at once; from then on the gateway answers the
//! worker's takes with 429, and whoever started it takes it down.

use super::{Known, LaunchSpec, Launcher, LogLine, Report, Reporter};
use crate::scheduler::{StartStage, StopMode};
use crate::units::{HostId, ImageId};

/// Launches nothing.
pub struct ExternalLauncher {
    reporter: Reporter,
}

impl ExternalLauncher {
    /// Tells `reporter` what would have happened.
    pub fn new(reporter: Reporter) -> ExternalLauncher {
        ExternalLauncher { reporter }
    }
}

impl Launcher for ExternalLauncher {
    /// Workers are believed to be where they were: if they are not, their silence tells. A stop that was under way is complete.
    fn adopt(&self, host: HostId, known: &[Known]) {
        for known in known.iter().filter(|known| known.host == host && known.stopping) {
            self.reporter.report(Report::Stopped { worker: known.name.clone(), frozen: false });
        }
    }

    fn pull(&self, host: HostId, image: ImageId, _reference: &str) {
        self.reporter.report(Report::Pulled { host, image, digest: None, took_ms: 0 });
    }

    fn evict(&self, _host: HostId, _image: ImageId, _reference: &str) {}

    fn start(&self, spec: LaunchSpec) {
        self.reporter.report(Report::StageEnded { worker: spec.name, stage: StartStage::Container });
    }

    fn stop(&self, _host: HostId, worker: &str, _mode: StopMode) {
        self.reporter.report(Report::Stopped { worker: worker.to_owned(), frozen: false });
    }

    fn logs(&self, _worker: &str, _lines: usize) -> Vec<LogLine> {
        Vec::new()
    }

    fn detach(&self) {}
}
