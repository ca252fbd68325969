//! Keyed random streams: every draw of a run is a pure function of (seed, purpose, entity, index).
//!
//! Job 17 therefore meets the same service time and the same luck under every policy (common random numbers), and a new
//! consumer of randomness disturbs nobody else's numbers. There is no shared generator and no global state.
//!
//! The generator is **splitmix64-keyed, version 1**. With `mix` the finalizer of SplitMix64 (variant 13 of D. Stafford's
//! mixers; G. Steele, D. Lea, C. Flood: Fast splittable pseudorandom number generators, OOPSLA 2014):
//!
//! ```text
//! base  = mix(mix(seed) + (purpose + 1) * G)        one per purpose
//! key   = mix(base + entity * A)                    distinct entities never share a key: mix is a bijection, A is odd
//! step  = mix(key + G) | 1, with at least 24 changes of bit (as in SplittableRandom)
//! state = key                                       sequential stream
//!       = mix(key + index * B)                      stream of one index
//! draw  = mix(state += step)
//! ```
//!
//! The numbers are part of what a seed means: a change of the scheme is a new version and a new set of test vectors.

use std::convert::Infallible;

use rand::TryRng;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const ENTITY: u64 = 0xD134_2543_DE82_EF95;
const INDEX: u64 = 0xAF25_1AF3_B0F0_25B5;

/// What a draw is for. The numbers are part of the scheme: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Purpose {
    /// Instants of requests; entity: a source of traffic.
    Arrivals = 0,
    /// Priority and TTL of requests; entity: a source of traffic.
    Marks = 1,
    /// Work of an attempt.
    Service = 2,
    /// Stages of a cold start.
    ColdStart = 3,
    /// Thaw of a frozen worker.
    Resume = 4,
    /// From the stop command to the free GPU.
    Stop = 5,
    /// Duration and luck of an image pull.
    Pull = 6,
    /// Whether and where an attempt kills its worker.
    Crash = 7,
    /// Whether an attempt hangs.
    Hang = 8,
    /// Whether a start fails.
    StartFailure = 9,
    /// Other tenants of a host.
    Tenant = 10,
    /// Loss and return of hosts.
    HostFault = 11,
    /// Lost, late and duplicated facts.
    Fact = 12,
    /// Latency of picking up a job.
    PickUp = 13,
    /// Whether a completed attempt is a handler error.
    HandlerError = 14,
    /// Whether a result asks for a refresh of its worker.
    Refresh = 15,
    /// Whether and how long a frozen worker's snapshot survives.
    Snapshot = 16,
    /// Whether an output goes on to another endpoint.
    Feed = 17,
    /// Times to live.
    Ttl = 18,
    /// Crashes of workers that are up, busy or idle.
    Uptime = 19,
    /// Whether a stop signal is ignored.
    StopSignal = 20,
    /// Draws of randomized policies.
    Policy = 21,
    /// Anything else that a test or an experiment draws.
    Other = 22,
}

const PURPOSES: usize = 23;

/// The streams of one run.
#[derive(Clone, Debug)]
pub struct Streams {
    bases: [u64; PURPOSES],
}

impl Streams {
    /// All streams of master seed `seed`.
    pub fn new(seed: u64) -> Streams {
        let root = mix(seed);
        let mut bases = [0; PURPOSES];
        for (purpose, base) in (1u64..).zip(&mut bases) {
            *base = mix(root.wrapping_add(purpose.wrapping_mul(GOLDEN)));
        }
        Streams { bases }
    }

    /// The streams of one entity, for callers that draw for many of its indices: [`Keyed::at`] is cheaper than [`Streams::at`].
    #[inline]
    pub fn keyed(&self, purpose: Purpose, entity: u64) -> Keyed {
        let key = mix(self.bases[purpose as usize].wrapping_add(entity.wrapping_mul(ENTITY)));
        let step = mix(key.wrapping_add(GOLDEN)) | 1;
        // Steps such as 0x...0001 or 0xFFFF... would change few bits from draw to draw.
        let weak = (step ^ (step >> 1)).count_ones() < 24;
        Keyed { key, step: if weak { step ^ 0xAAAA_AAAA_AAAA_AAAA } else { step } }
    }

    /// The sequential stream of an entity.
    #[inline]
    pub fn stream(&self, purpose: Purpose, entity: u64) -> Stream {
        self.keyed(purpose, entity).sequence()
    }

    /// The stream that belongs to one index (a job, an attempt, a start) of an entity.
    #[inline]
    pub fn at(&self, purpose: Purpose, entity: u64, index: u64) -> Stream {
        self.keyed(purpose, entity).at(index)
    }
}

/// The streams of one purpose and entity.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    key: u64,
    step: u64,
}

impl Keyed {
    /// Draws in order.
    #[inline]
    pub fn sequence(self) -> Stream {
        Stream { state: self.key, step: self.step }
    }

    /// The draws that belong to `index`.
    #[inline]
    pub fn at(self, index: u64) -> Stream {
        Stream { state: mix(self.key.wrapping_add(index.wrapping_mul(INDEX))), step: self.step }
    }
}

/// A stream of random numbers, usable wherever `rand::Rng` is asked for.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
    step: u64,
}

impl TryRng for Stream {
    type Error = Infallible;

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.state = self.state.wrapping_add(self.step);
        Ok(mix(self.state))
    }

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[inline(always)]
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn first(seed: u64, purpose: Purpose, entity: u64, index: u64) -> u64 {
        Streams::new(seed).at(purpose, entity, index).next_u64()
    }

    #[test]
    fn version_1_test_vectors() {
        // The first outputs of SplitMix64 seeded with 0 are mix(G), mix(2 G), mix(3 G): published values.
        assert_eq!(mix(GOLDEN), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(GOLDEN.wrapping_mul(2)), 0x6E78_9E6A_A1B9_65F4);
        assert_eq!(mix(GOLDEN.wrapping_mul(3)), 0x06C4_5D18_8009_454F);

        let mut arrivals = Streams::new(1).stream(Purpose::Arrivals, 0);
        let words = [arrivals.next_u64(), arrivals.next_u64(), arrivals.next_u64()];
        assert_eq!(words, VECTOR_ARRIVALS, "{words:#x?}");
        let mut service = Streams::new(42).at(Purpose::Service, 3, 17);
        let words = [service.next_u64(), service.next_u64()];
        assert_eq!(words, VECTOR_SERVICE, "{words:#x?}");
    }
    const VECTOR_ARRIVALS: [u64; 3] = [0x0552_EE7A_5527_746C, 0x5CFB_5806_ACDF_DE79, 0x4863_A6E9_C014_E5DE];
    const VECTOR_SERVICE: [u64; 2] = [0xC6EC_E514_3276_2911, 0x52B8_C56D_C77A_E975];

    #[test]
    fn a_new_consumer_changes_no_other_stream() {
        let streams = Streams::new(9);
        let mut alone = streams.stream(Purpose::Tenant, 5);
        let alone: Vec<u64> = (0..100).map(|_| alone.next_u64()).collect();

        let mut again = streams.stream(Purpose::Tenant, 5);
        let mut other = streams.stream(Purpose::Tenant, 6);
        let mut marks = streams.stream(Purpose::Marks, 5);
        for (index, &expected) in alone.iter().enumerate() {
            other.next_u64();
            marks.next_u64();
            streams.at(Purpose::Tenant, 5, index as u64).next_u64();
            assert_eq!(again.next_u64(), expected);
        }
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let words = [
            first(1, Purpose::Service, 1, 1),
            first(2, Purpose::Service, 1, 1),
            first(1, Purpose::Crash, 1, 1),
            first(1, Purpose::Service, 2, 1),
            first(1, Purpose::Service, 1, 2),
            Streams::new(1).stream(Purpose::Service, 1).next_u64(),
        ];
        for (i, a) in words.iter().enumerate() {
            assert!(words[i + 1..].iter().all(|b| (a ^ b).count_ones() > 10), "{words:#x?}");
        }
    }

    #[test]
    fn bytes_and_words_come_from_the_same_sequence() {
        let mut bytes = [0u8; 11];
        Streams::new(3).stream(Purpose::Other, 0).fill_bytes(&mut bytes);
        let mut words = Streams::new(3).stream(Purpose::Other, 0);
        let (low, high) = (words.next_u64().to_le_bytes(), words.next_u64().to_le_bytes());
        assert_eq!(bytes[..8], low);
        assert_eq!(bytes[8..], high[..3]);
    }

    /// Sequences in which neighbours are as related as they ever get: next draw, next index, next entity, next seed.
    fn neighbours(kind: usize) -> Vec<u64> {
        let streams = Streams::new(2024);
        let mut sequence = streams.stream(Purpose::Arrivals, 0);
        (0..1u64 << 16)
            .map(|i| match kind {
                0 => sequence.next_u64(),
                1 => streams.at(Purpose::Service, 4, i).next_u64(),
                2 => streams.at(Purpose::Service, i, 4).next_u64(),
                _ => Streams::new(i).at(Purpose::Service, 0, 0).next_u64(),
            })
            .collect()
    }

    #[test]
    fn each_bit_is_fair_and_independent_of_its_neighbours() {
        for kind in 0..4 {
            let words = neighbours(kind);
            let n = words.len() as f64;
            // 64 squared normal deviates have mean 64 and variance 128; 64 + 4.5 * sqrt(128) = 115.
            let mut fair = 0.0;
            let mut paired = 0.0;
            for bit in 0..64 {
                let ones = words.iter().filter(|word| *word >> bit & 1 == 1).count() as f64;
                fair += (2.0 * ones - n).powi(2) / n;
                let changes = words.windows(2).filter(|pair| (pair[0] ^ pair[1]) >> bit & 1 == 1).count() as f64;
                paired += (2.0 * changes - (n - 1.0)).powi(2) / (n - 1.0);
            }
            assert!((20.0..115.0).contains(&fair), "kind {kind}: {fair}");
            assert!((20.0..115.0).contains(&paired), "kind {kind}: {paired}");
        }
    }

    #[test]
    fn pairs_of_neighbours_fill_the_square_evenly() {
        for kind in 0..4 {
            let words = neighbours(kind);
            let mut cells = [0u32; 256];
            for pair in words.chunks_exact(2) {
                cells[((pair[0] >> 60) << 4 | pair[1] >> 60) as usize] += 1;
            }
            let expected = (words.len() / 2) as f64 / 256.0;
            let chi2: f64 = cells.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
            // 255 degrees of freedom: 255 +- 4.5 * sqrt(510) = 153..357.
            assert!((153.0..357.0).contains(&chi2), "kind {kind}: {chi2}");
        }
    }
}
