//! The transcript hash: XXH3-128 over a canonical binary form of every fact and decision, the same on every platform.
//!
//! Format version 1. The stream begins with the 8 bytes `thcl-v1\n`. Then, per record and in order: the time in
//! microseconds (u64), a tag (u8: facts count from 1, wishes and notices from 101, in the order of their declaration) and
//! the fields in the order of declaration. All numbers are little-endian. Ids and `client_ref` u64, [`EndpointId`],
//! [`HostId`], [`ImageId`], epochs, attempts and counts u32, words (enums) u8 by position, switches u8; an absent id is all
//! ones, an absent time limit 0. Specifications (hosts, endpoints, images, GPU classes) are their JSON, preceded by its length (u32).
//!
//! It costs about 20 ns per job, so it is always on.

use xxhash_rust::xxh3::Xxh3;

use super::transcript::Recorder;
use super::{Command, Event};
use crate::units::{EndpointId, HostId, ImageId, JobId, Time, WorkerId};

/// Version of the byte format.
pub const HASH_FORMAT: u32 = 1;

/// Small, so that it does not push the figures of the other recorders out of the first-level cache.
const BUFFER: usize = 4 * 1_024;
/// Longer than any record without a specification.
const LONGEST: usize = 64;

/// A recorder that keeps nothing but the hash.
pub struct TranscriptHash {
    state: Xxh3,
    buffer: Box<[u8; BUFFER]>,
    used: usize,
    events: u64,
    commands: u64,
}

impl Default for TranscriptHash {
    fn default() -> TranscriptHash {
        TranscriptHash::new()
    }
}

impl TranscriptHash {
    /// The hash of nothing so far.
    pub fn new() -> TranscriptHash {
        let mut state = Xxh3::new();
        state.update(b"thcl-v1\n");
        TranscriptHash { state, buffer: Box::new([0; BUFFER]), used: 0, events: 0, commands: 0 }
    }

    /// Facts seen.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Wishes and notices seen.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The hash of all records so far.
    pub fn digest(&self) -> u128 {
        let mut state = self.state.clone();
        state.update(&self.buffer[..self.used]);
        state.digest128()
    }

    /// The hash as it is printed: 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.digest())
    }

    /// Writes one record straight into the buffer. All places are known when it is compiled: a handful of stores.
    #[inline(always)]
    fn push(&mut self, now: Time, tag: u8, fields: impl FnOnce(&mut Record<'_>)) {
        if self.used + LONGEST > BUFFER {
            self.flush();
        }
        let room = self.buffer[self.used..].first_chunk_mut().expect("a buffer with less room was flushed");
        let mut record = Record { room, length: 0 };
        record.put(now.0.to_le_bytes()).put([tag]);
        fields(&mut record);
        self.used += record.length;
    }

    #[cold]
    fn flush(&mut self) {
        self.state.update(&self.buffer[..self.used]);
        self.used = 0;
    }

    /// A specification: rare, of any length, so it goes around the buffer.
    fn specification(&mut self, value: &impl serde::Serialize) {
        let json = serde_json::to_vec(value).expect("specifications are plain data with text keys");
        self.flush();
        self.state.update(&(json.len() as u32).to_le_bytes());
        self.state.update(&json);
    }
}

/// Room for one record.
struct Record<'a> {
    room: &'a mut [u8; LONGEST],
    length: usize,
}

impl Record<'_> {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> &mut Self {
        self.room[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
        self
    }

    #[inline(always)]
    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(value.to_le_bytes())
    }

    #[inline(always)]
    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(value.to_le_bytes())
    }

    #[inline(always)]
    fn worker(&mut self, worker: WorkerId, epoch: u32) -> &mut Self {
        self.u64(worker.0).u32(epoch)
    }

    #[inline(always)]
    fn job(&mut self, job: JobId) -> &mut Self {
        self.u64(job.0)
    }

    #[inline(always)]
    fn endpoint(&mut self, endpoint: EndpointId) -> &mut Self {
        self.u32(endpoint.0)
    }

    #[inline(always)]
    fn host(&mut self, host: Option<HostId>) -> &mut Self {
        self.u32(host.map_or(u32::MAX, |host| host.0))
    }

    #[inline(always)]
    fn image(&mut self, image: ImageId) -> &mut Self {
        self.u32(image.0)
    }

    #[inline(always)]
    fn word(&mut self, position: u8) -> &mut Self {
        self.put([position])
    }
}

impl Recorder for TranscriptHash {
    #[inline]
    fn event(&mut self, now: Time, event: &Event) {
        self.events += 1;
        match event {
            Event::JobSubmitted { endpoint, client_ref, policy } => {
                let limit = |limit: Option<crate::units::Millis>| limit.map_or(0, |limit| limit.0.get());
                self.push(now, 8, |record| {
                    record
                        .endpoint(*endpoint)
                        .u64(*client_ref)
                        .u32(limit(policy.ttl))
                        .u32(limit(policy.execution_timeout))
                        .word(u8::from(policy.low_priority));
                });
            }
            Event::JobFinished { worker, epoch, job, attempt, result, refresh } => {
                self.push(now, 21, |record| {
                    record.worker(*worker, *epoch).job(*job).u32(*attempt).word(*result as u8).word(u8::from(*refresh));
                });
            }
            Event::TakeOpened { worker, epoch, slots } => {
                self.push(now, 19, |record| {
                    record.worker(*worker, *epoch).u32(*slots);
                });
            }
            Event::DeadlineReached => {
                self.push(now, 24, |_| {});
            }
            other => self.rare_event(now, other),
        }
    }

    #[inline]
    fn command(&mut self, now: Time, command: &Command) {
        self.commands += 1;
        match command {
            Command::AssignJob { job, client_ref, worker, epoch, attempt } => {
                self.push(now, 105, |record| {
                    record.job(*job).u64(*client_ref).worker(*worker, *epoch).u32(*attempt);
                });
            }
            Command::AcceptJob { job, endpoint, client_ref } => {
                self.push(now, 107, |record| {
                    record.job(*job).endpoint(*endpoint).u64(*client_ref);
                });
            }
            Command::FinishJob { job, client_ref, outcome, cause } => {
                self.push(now, 110, |record| {
                    record.job(*job).u64(*client_ref).word(*outcome as u8).word(*cause as u8);
                });
            }
            other => self.rare_command(now, other),
        }
    }
}

impl TranscriptHash {
    #[allow(clippy::too_many_lines, reason = "one short arm per fact: a table, read line by line")]
    fn rare_event(&mut self, now: Time, event: &Event) {
        match event {
            Event::HostAdded { host } => {
                self.push(now, 1, |_| {});
                self.specification(host);
            }
            Event::HostCapacityChanged { host, gpus } => {
                self.push(now, 2, |record| {
                    record.host(Some(*host)).u32(*gpus);
                });
            }
            Event::HostLost { host } => {
                self.push(now, 3, |record| {
                    record.host(Some(*host));
                });
            }
            Event::HostReturned { host } => {
                self.push(now, 4, |record| {
                    record.host(Some(*host));
                });
            }
            Event::EndpointCreated { spec } => {
                self.push(now, 5, |_| {});
                self.specification(spec);
            }
            Event::EndpointUpdated { endpoint, spec } => {
                self.push(now, 6, |record| {
                    record.endpoint(*endpoint);
                });
                self.specification(spec);
            }
            Event::EndpointDeleted { endpoint } => {
                self.push(now, 7, |record| {
                    record.endpoint(*endpoint);
                });
            }
            Event::CancelRequested { job } => {
                self.push(now, 9, |record| {
                    record.job(*job);
                });
            }
            Event::PurgeRequested { endpoint } => {
                self.push(now, 10, |record| {
                    record.endpoint(*endpoint);
                });
            }
            Event::ImagePulled { host, image } => {
                self.push(now, 11, |record| {
                    record.host(Some(*host)).image(*image);
                });
            }
            Event::ImagePullFailed { host, image } => {
                self.push(now, 12, |record| {
                    record.host(Some(*host)).image(*image);
                });
            }
            Event::StageEnded { worker, epoch, stage } => {
                self.push(now, 13, |record| {
                    record.worker(*worker, *epoch).word(*stage as u8);
                });
            }
            Event::WorkerReady { worker, epoch } => {
                self.push(now, 14, |record| {
                    record.worker(*worker, *epoch);
                });
            }
            Event::WorkerExited { worker, epoch, cause } => {
                self.push(now, 15, |record| {
                    record.worker(*worker, *epoch).word(*cause as u8);
                });
            }
            Event::WorkerStopped { worker, epoch, frozen } => {
                self.push(now, 16, |record| {
                    record.worker(*worker, *epoch).word(u8::from(*frozen));
                });
            }
            Event::SnapshotLost { worker, epoch } => {
                self.push(now, 17, |record| {
                    record.worker(*worker, *epoch);
                });
            }
            Event::TakeClosed { worker, epoch } => {
                self.push(now, 20, |record| {
                    record.worker(*worker, *epoch);
                });
            }
            Event::JobStopped { worker, epoch, job, attempt } => {
                self.push(now, 22, |record| {
                    record.worker(*worker, *epoch).job(*job).u32(*attempt);
                });
            }
            Event::TakeLost { worker, epoch, job, attempt } => {
                self.push(now, 23, |record| {
                    record.worker(*worker, *epoch).job(*job).u32(*attempt);
                });
            }
            Event::WorkerPinged { worker, epoch } => {
                self.push(now, 18, |record| {
                    record.worker(*worker, *epoch);
                });
            }
            Event::ImageAdded { image } => {
                self.push(now, 25, |_| {});
                self.specification(image);
            }
            Event::GpuClassAdded { class } => {
                self.push(now, 26, |_| {});
                self.specification(class);
            }
            Event::JobSubmitted { .. }
            | Event::JobFinished { .. }
            | Event::TakeOpened { .. }
            | Event::DeadlineReached => unreachable!("recorded on the hot path"),
        }
    }

    fn rare_command(&mut self, now: Time, command: &Command) {
        match command {
            Command::PullImage { host, image } => {
                self.push(now, 101, |record| {
                    record.host(Some(*host)).image(*image);
                });
            }
            Command::EvictImage { host, image } => {
                self.push(now, 102, |record| {
                    record.host(Some(*host)).image(*image);
                });
            }
            Command::StartWorker { worker, epoch, endpoint, host, version, resume } => {
                self.push(now, 103, |record| {
                    record
                        .worker(*worker, *epoch)
                        .endpoint(*endpoint)
                        .host(Some(*host))
                        .u32(*version)
                        .word(u8::from(*resume));
                });
            }
            Command::StopWorker { worker, epoch, mode } => {
                self.push(now, 104, |record| {
                    record.worker(*worker, *epoch).word(*mode as u8);
                });
            }
            Command::StopJob { job, worker, epoch, attempt } => {
                self.push(now, 106, |record| {
                    record.job(*job).worker(*worker, *epoch).u32(*attempt);
                });
            }
            Command::RejectJob { endpoint, client_ref, reason } => {
                self.push(now, 108, |record| {
                    record.endpoint(*endpoint).u64(*client_ref).word(*reason as u8);
                });
            }
            Command::RequeueJob { job, worker, cause } => {
                self.push(now, 109, |record| {
                    record.job(*job).u64(worker.0).word(*cause as u8);
                });
            }
            Command::WorkerPlaced { worker, endpoint, host, kind, version } => {
                self.push(now, 111, |record| {
                    record.u64(worker.0).endpoint(*endpoint).host(*host).word(*kind as u8).u32(*version);
                });
            }
            Command::WorkerChanged { worker, phase, outdated, reason } => {
                self.push(now, 112, |record| {
                    record.u64(worker.0).word(*phase as u8).word(u8::from(*outdated)).word(*reason as u8);
                });
            }
            Command::ScaleDecided { endpoint, from, to, reason, trigger } => {
                self.push(now, 113, |record| {
                    record
                        .endpoint(*endpoint)
                        .u32(*from)
                        .u32(*to)
                        .word(*reason as u8)
                        .u64(trigger.map_or(u64::MAX, |job| job.0));
                });
            }
            Command::ReleaseChanged { endpoint, version, status } => {
                self.push(now, 114, |record| {
                    record.endpoint(*endpoint).u32(*version).word(*status as u8);
                });
            }
            Command::BoundsChanged { endpoint, active, max, reason } => {
                self.push(now, 115, |record| {
                    record.endpoint(*endpoint).u32(*active).u32(*max).word(*reason as u8);
                });
            }
            Command::AssignJob { .. } | Command::AcceptJob { .. } | Command::FinishJob { .. } => {
                unreachable!("recorded on the hot path")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Phase, WorkerKind};
    use crate::scheduler::reason::FinishCause;
    use crate::scheduler::script::Script;
    use crate::scheduler::{JobOutcome, WorkerReason};

    fn hash(script: &Script) -> String {
        let mut hash = TranscriptHash::new();
        script.play(&mut hash);
        hash.hex()
    }

    fn small() -> Script {
        let mut script = Script::default();
        script.at(1.0).place(0, 0, 0, WorkerKind::Flex).start(0, 1).at(3.0).ready(0, 1);
        script.submit(0, 0).assign(0, 0, 1, 1).at(4.5).complete(0, 0, 1, 1);
        script
    }

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let mut script = Script::default();
        script.at(1.0).finish(7, JobOutcome::TimedOut, FinishCause::TtlInQueue);
        let mut bytes = b"thcl-v1\n".to_vec();
        bytes.extend(1_000_000_u64.to_le_bytes());
        bytes.push(110);
        bytes.extend((7_u64 << 24 | 7).to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend([2, 2]);
        assert_eq!(hash(&script), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes)));
    }

    #[test]
    fn a_known_transcript_keeps_its_hash() {
        assert_eq!(hash(&small()), "35b9a4e2b5aea3ee9f32f6fe52a7ce7c");
        assert_eq!(hash(&Script::default()), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(b"thcl-v1\n")));
    }

    #[test]
    fn images_and_classes_made_known_later_have_tags_of_their_own() {
        let image = crate::scheduler::Image { name: "i".to_owned(), layers: Vec::new() };
        let class = crate::scheduler::script::classes().remove(0);
        let mut script = Script::default();
        script.told(Event::ImageAdded { image: Box::new(image.clone()) });
        script.told(Event::GpuClassAdded { class: Box::new(class.clone()) });
        let mut bytes = b"thcl-v1\n".to_vec();
        for (tag, json) in [(25, serde_json::to_vec(&image).unwrap()), (26, serde_json::to_vec(&class).unwrap())] {
            bytes.extend(0_u64.to_le_bytes());
            bytes.push(tag);
            bytes.extend((json.len() as u32).to_le_bytes());
            bytes.extend(json);
        }
        assert_eq!(hash(&script), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes)));
    }

    #[test]
    fn any_difference_changes_it() {
        let plain = hash(&small());
        let mut other = small();
        other.lines[3].0.0 += 1;
        assert_ne!(hash(&other), plain);
        let mut longer = small();
        longer.phase(0, Phase::Stopping, WorkerReason::IdleTimeout);
        assert_ne!(hash(&longer), plain);
    }

    #[test]
    fn a_digest_may_be_taken_at_any_time() {
        let script = {
            let mut script = Script::with_endpoints(3);
            for n in 0..5_000 {
                script.after(crate::units::Span(10)).submit(n, 1);
            }
            script
        };
        let mut hash = TranscriptHash::new();
        script.play(&mut hash);
        let first = hash.hex();
        assert_eq!(first, hash.hex());
        assert_eq!((hash.events(), hash.commands()), (5_005, 5_000));
        let mut again = TranscriptHash::new();
        script.play(&mut again);
        assert_eq!(again.hex(), first);
    }
}
