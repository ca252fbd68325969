//! What the tests of this module share: a generator and the yardstick of a statistical test.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rand::TryRng;

/// SplitMix64, or one word for ever. The module is generic over its generator, so its tests bring their own.
#[derive(Debug)]
pub struct Words {
    state: u64,
    constant: bool,
}

impl Words {
    /// A sequence.
    pub fn new(seed: u64) -> Words {
        Words { state: seed, constant: false }
    }

    /// Always `word`.
    pub fn constant(word: u64) -> Words {
        Words { state: word, constant: true }
    }
}

impl TryRng for Words {
    type Error = Infallible;

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        if self.constant {
            return Ok(self.state);
        }
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(word ^ (word >> 31))
    }

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.try_next_u64()? as u8;
        }
        Ok(())
    }
}

/// Mean and squared coefficient of variation of a sample, each with its standard error.
pub struct Moments {
    /// Sample mean and its standard error.
    pub mean: (f64, f64),
    /// Sample squared coefficient of variation and its standard error.
    pub scv: (f64, f64),
}

impl Moments {
    /// Of `values`; the error of the scv is that of 20 batches, which needs no assumption about the fourth moment.
    pub fn of(values: &[f64]) -> Moments {
        let (mean, scv) = mean_and_scv(values);
        let batches: Vec<(f64, f64)> = values.chunks(values.len().div_ceil(20)).map(mean_and_scv).collect();
        let error = |pick: fn(&(f64, f64)) -> f64| {
            let picked: Vec<f64> = batches.iter().map(pick).collect();
            let centre = picked.iter().sum::<f64>() / picked.len() as f64;
            let squares: f64 = picked.iter().map(|x| (x - centre).powi(2)).sum();
            (squares / (picked.len() - 1) as f64 / picked.len() as f64).sqrt()
        };
        Moments { mean: (mean, error(|batch| batch.0)), scv: (scv, error(|batch| batch.1)) }
    }
}

fn mean_and_scv(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance / (mean * mean))
}

/// Asserts that an estimate lies within 4.5 of its standard errors from the truth, and that the error is small enough for that
/// to mean something.
pub fn assert_near(what: &str, (estimate, error): (f64, f64), truth: f64, tolerance: f64) {
    let close = (estimate - truth).abs() <= 4.5 * error + 1e-12 * truth.abs();
    assert!(close, "{what}: {estimate} +- {error}, expected {truth}");
    assert!(error <= tolerance * truth.abs(), "{what}: no power, {estimate} +- {error}");
}

/// A file that is gone when its value is.
pub struct TempFile(PathBuf);

impl TempFile {
    /// Holds `content`.
    pub fn new(content: &[u8]) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("thermocline-workload-{}-{count}", std::process::id()));
        std::fs::write(&path, content).expect("the temporary folder is writable");
        TempFile(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Left over at worst in the temporary folder.
        let _ = std::fs::remove_file(&self.0);
    }
}
