//! The lab's own random numbers, for resamples and points of a search; never for what is simulated.

/// A stream of SplitMix64 (Steele, Lea, Flood 2014), of a seed and a number of its own.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    /// Stream `number` of `seed`.
    pub fn new(seed: u64, number: u64) -> Stream {
        Stream(mix(mix(seed) ^ number))
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `count`, which is at least 1; the bias is below 2^-40 for any count that a search has.
    pub fn below(&mut self, count: usize) -> usize {
        (self.word() % count.max(1) as u64) as usize
    }
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let words = |seed, number| {
            let mut stream = Stream::new(seed, number);
            [stream.word(), stream.word()]
        };
        assert_eq!(words(1, 2), words(1, 2));
        assert_ne!(words(1, 2), words(1, 3));
        assert_ne!(words(1, 2), words(2, 2));
        let mut stream = Stream::new(1, 1);
        let mean = (0..10_000).map(|_| stream.uniform()).sum::<f64>() / 10_000.0;
        // Standard error 0.0029.
        assert!((mean - 0.5).abs() < 0.013, "{mean}");
    }
}
