//! The GPUs of this machine as its driver sees them (NVML): which there are, and which have gone bad.
//!
//! Without the driver's library there is nothing to see, and what the configuration says is believed.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::error::NvmlError;

/// How often the GPUs are looked at. One look takes a few ms a GPU.
const EVERY: Duration = Duration::from_secs(30);

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Number in the driver's order.
    pub index: u32,
    /// `GPU-…`, the same after a reboot.
    pub uuid: String,
    /// Product.
    pub name: String,
    /// All of its memory, bytes.
    pub memory_bytes: u64,
    /// Memory that nobody uses, bytes.
    pub free_bytes: u64,
    /// Why it should not be used, if so.
    pub sick: Option<String>,
}

/// All GPUs of this machine.
///
/// # Errors
/// No driver, or one that does not answer. The text is for people.
pub fn list() -> Result<Vec<Gpu>, String> {
    let nvml = Nvml::init().map_err(|error| match error {
        NvmlError::LibloadingError(_) => "no NVIDIA driver library (libnvidia-ml.so.1)".to_owned(),
        error => error.to_string(),
    })?;
    seen(&nvml).map_err(|error| error.to_string())
}

/// Version of the driver.
///
/// # Errors
/// As [`list`].
pub fn driver_version() -> Result<String, String> {
    Nvml::init().and_then(|nvml| nvml.sys_driver_version()).map_err(|error| error.to_string())
}

fn seen(nvml: &Nvml) -> Result<Vec<Gpu>, NvmlError> {
    let count = nvml.device_count()?;
    Ok((0..count).map(|index| look(nvml, index)).collect())
}

fn look(nvml: &Nvml, index: u32) -> Gpu {
    let mut gpu = Gpu { index, uuid: String::new(), name: String::new(), memory_bytes: 0, free_bytes: 0, sick: None };
    let mut check = || {
        let device = nvml.device_by_index(index)?;
        gpu.uuid = device.uuid()?;
        gpu.name = device.name()?;
        let memory = device.memory_info()?;
        (gpu.memory_bytes, gpu.free_bytes) = (memory.total, memory.free);
        // Cards without ECC say `NotSupported`, which is no illness.
        if let Ok(errors @ 1..) = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile) {
            gpu.sick = Some(format!("{errors} memory errors that could not be corrected since the driver was loaded"));
        }
        Ok(())
    };
    if let Err(error) = check() {
        let error: NvmlError = error;
        gpu.sick = Some(error.to_string());
    }
    gpu
}

/// Of the configured ids (`0`, `GPU-uuid`, or a CDI name that ends with one of those) the ones that cannot be used, with the
/// reason. What names no whole GPU (parts of one, `all`) is believed.
pub fn unusable(configured: &[String], found: &[Gpu]) -> Vec<(String, String)> {
    let judge = |id: &String| {
        let plain = id.rsplit('=').next().unwrap_or(id);
        let index = plain.parse::<u32>().ok();
        if index.is_none() && !plain.starts_with("GPU-") {
            return None;
        }
        match found.iter().find(|gpu| Some(gpu.index) == index || gpu.uuid == plain) {
            Some(gpu) => gpu.sick.clone(),
            None => Some("the driver does not know it".to_owned()),
        }
    };
    configured.iter().filter_map(|id| Some((id.clone(), judge(id)?))).collect()
}

/// Looks now and then; dropped to stop.
pub struct Watch {
    _alive: Sender<()>,
}

/// Calls `changed` with the ids that cannot be used whenever those are others than before (none at first). Nothing to watch
/// without configured ids, or on a machine without the driver.
pub fn watch(configured: Vec<String>, changed: impl Fn(BTreeSet<String>) + Send + 'static) -> Option<Watch> {
    if configured.is_empty() {
        return None;
    }
    let (alive, over) = channel();
    let body = move || {
        if let Ok(nvml) = Nvml::init() {
            look_until(&over, &configured, || seen(&nvml).ok(), changed);
        }
    };
    std::thread::Builder::new().name("gpus".to_owned()).spawn(body).ok()?;
    Some(Watch { _alive: alive })
}

fn look_until(
    over: &Receiver<()>,
    configured: &[String],
    look: impl Fn() -> Option<Vec<Gpu>>,
    changed: impl Fn(BTreeSet<String>),
) {
    let mut before = BTreeSet::new();
    loop {
        if let Some(found) = look() {
            let bad = unusable(configured, &found);
            let ids: BTreeSet<String> = bad.iter().map(|(id, _)| id.clone()).collect();
            if ids != before {
                bad.iter().for_each(|(id, why)| tracing::error!(gpu = id, why, "a GPU is not used"));
                before.clone_from(&ids);
                changed(ids);
            }
        }
        if over.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn gpu(index: u32, sick: bool) -> Gpu {
        Gpu {
            index,
            uuid: format!("GPU-{index}{index}"),
            name: "Test".into(),
            memory_bytes: 80,
            free_bytes: 79,
            sick: sick.then(|| "lost".to_owned()),
        }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_gpu_is_found_by_each_of_its_names() {
        let found = [gpu(0, false), gpu(1, true)];
        let configured =
            ids(&["0", "1", "GPU-11", "nvidia.com/gpu=GPU-00", "nvidia.com/gpu=1", "2", "GPU-x", "MIG-7", "all"]);
        let bad = unusable(&configured, &found);
        let expected = [("1", "lost"), ("GPU-11", "lost"), ("nvidia.com/gpu=1", "lost")]
            .map(|(id, why)| (id.to_owned(), why.to_owned()));
        assert_eq!(bad[..3], expected);
        assert_eq!(bad[3..].iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["2", "GPU-x"]);
    }

    #[test]
    fn only_changes_are_told() {
        let (alive, over) = channel::<()>();
        drop(alive);
        let told = RefCell::new(Vec::new());
        look_until(
            &over,
            &ids(&["0", "1"]),
            || Some(vec![gpu(0, false), gpu(1, true)]),
            |bad| told.borrow_mut().push(bad),
        );
        look_until(&over, &ids(&["0"]), || Some(vec![gpu(0, false)]), |bad| told.borrow_mut().push(bad));
        look_until(&over, &ids(&["0"]), || None, |bad| told.borrow_mut().push(bad));
        assert_eq!(*told.borrow(), [BTreeSet::from(["1".to_owned()])]);
        assert!(watch(Vec::new(), |_| {}).is_none());
    }
}
