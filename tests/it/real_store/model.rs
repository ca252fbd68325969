//! The file against memory: random batches into both, the same answers from both, restarts in between.

use std::fmt::Write as _;
use std::mem::discriminant;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use thermocline::real::store::{DeliveryState, Store, Write};

use super::*;

const JOBS: u8 = 5;

/// What a batch is made of. Numbers that must rise are given out when the batch is written.
#[derive(Clone, Debug)]
enum Op {
    Event,
    Snapshot(u8),
    Add { job: u8, key: Option<bool>, s3: bool },
    Retry(u8),
    End { job: u8, expires: u8, output: bool },
    Drop(u8, bool),
    Chunk(u8, u8),
    Taken(u8, u8),
    Endpoint(u8, u8),
    Gone(u8),
    Delivery { job: u8, generation: u8, due: u8, state: u8 },
    Key(u8, bool),
    Meta(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let job = || 0..JOBS;
    prop_oneof![
        3 => Just(Op::Event),
        1 => prop_oneof![9 => Just(0), 1 => 0..3_u8].prop_map(Op::Snapshot),
        6 => (job(), any::<Option<bool>>(), any::<bool>()).prop_map(|(job, key, s3)| Op::Add { job, key, s3 }),
        2 => job().prop_map(Op::Retry),
        4 => (job(), 0..9_u8, any::<bool>()).prop_map(|(job, expires, output)| Op::End { job, expires, output }),
        2 => (job(), any::<bool>()).prop_map(|(job, keep)| Op::Drop(job, keep)),
        3 => (job(), 0..4_u8).prop_map(|(job, number)| Op::Chunk(job, number)),
        2 => (job(), 0..4_u8).prop_map(|(job, next)| Op::Taken(job, next)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(number, version)| Op::Endpoint(number, version)),
        1 => (0..3_u8).prop_map(Op::Gone),
        4 => (job(), 1..3_u8, 0..9_u8, 0..3_u8)
            .prop_map(|(job, generation, due, state)| Op::Delivery { job, generation, due, state }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(key, revoked)| Op::Key(key, revoked)),
        1 => (0..3_u8, any::<u8>()).prop_map(|(key, value)| Op::Meta(key, value)),
    ]
}

/// Gives out what must rise.
#[derive(Clone, Debug, Default)]
struct Numbers {
    next_event: u64,
    last_ref: u64,
    /// Each job's id: a new one when it is added while it is there. One that was dropped may be used again, and is refused.
    incarnation: [u32; JOBS as usize],
    there: [bool; JOBS as usize],
}

impl Numbers {
    fn id(&self, job: u8) -> String {
        format!("j{job}-{}", self.incarnation[usize::from(job)])
    }

    fn write(&mut self, op: &Op) -> Write {
        match *op {
            Op::Event => {
                self.next_event += 1;
                event(self.next_event - 1)
            }
            Op::Snapshot(back) => {
                // Hardly ever backwards, which is refused.
                let seq = self.next_event.saturating_sub(u64::from(back) + 1);
                self.next_event = self.next_event.max(seq + 1);
                snapshot(seq)
            }
            Op::Add { job, key, s3 } => {
                self.incarnation[usize::from(job)] +=
                    u32::from(std::mem::replace(&mut self.there[usize::from(job)], true));
                self.last_ref += 1;
                Write::JobAdded {
                    row: Box::new(row(&self.id(job), self.last_ref)),
                    input: Bytes::from(vec![b'0'; usize::from(job) * 3_000]),
                    s3: s3.then(|| Bytes::from_static(b"{}")),
                    idempotency_key: key.map(|key| key.to_string()),
                }
            }
            Op::Retry(job) => {
                self.last_ref += 1;
                Write::JobRetried { id: self.id(job), client_ref: self.last_ref, generation: 2, submitted_ms: 5 }
            }
            Op::End { job, expires, output } => Write::JobEnded {
                id: self.id(job),
                end: Box::new(end(u64::from(expires))),
                output: output.then(|| Bytes::from_static(b"[]")),
            },
            Op::Drop(job, keep) => {
                let id = self.id(job);
                if std::mem::replace(&mut self.there[usize::from(job)], false) && !keep {
                    self.incarnation[usize::from(job)] += 1;
                }
                dropped(&id)
            }
            Op::Chunk(job, number) => {
                Write::ChunkAdded { id: self.id(job), number: number.into(), value: Bytes::from(vec![number]) }
            }
            Op::Taken(job, next) => Write::ChunksTaken { id: self.id(job), next: next.into() },
            Op::Endpoint(number, version) => endpoint(number.into(), version.into()),
            Op::Gone(number) => Write::EndpointGone { number: number.into() },
            Op::Delivery { job, generation, due, state } => {
                let state =
                    [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed][usize::from(state)];
                match delivery(&self.id(job), 1, due.into(), state) {
                    Write::Delivery(row) => {
                        Write::Delivery(Box::new(Delivery { generation: generation.into(), ..*row }))
                    }
                    other => other,
                }
            }
            Op::Key(key_id, revoked) => key(&format!("k{key_id}"), revoked.then_some(3)),
            Op::Meta(name, value) => meta(&format!("m{name}"), &value.to_string()),
        }
    }
}

/// Every answer that a store gives, as text.
fn answers(store: &mut dyn Store, numbers: &Numbers) -> String {
    let reader = store.reader();
    let mut text = format!("{:#?}\n{:?}\n", store.load(), reader.keys());
    let ids = (0..JOBS).flat_map(|job| (0..=numbers.incarnation[usize::from(job)]).map(move |n| format!("j{job}-{n}")));
    for id in ids {
        let job = (reader.job(&id), reader.input(&id), reader.output(&id), reader.chunks(&id), reader.tombstone(&id));
        let _ = writeln!(text, "{id}: {job:?} {:?}", reader.deliveries(&id));
    }
    for now in [0, 4, 20] {
        let _ =
            writeln!(text, "{now}: {:?} {:?} {:?}", reader.expired(now, 3), reader.due(now, 2), reader.due(now, 99));
        let _ = writeln!(text, "{now}: {:?}", reader.list("llm", now / 4, 2));
    }
    for key in ["true", "false"] {
        let _ = writeln!(text, "{key}: {:?}", reader.by_idempotency_key("llm", key));
    }
    text
}

#[test]
fn the_file_answers_what_memory_answers() {
    let batch = (prop::collection::vec(op(), 1..8), any::<bool>());
    let batches = prop::collection::vec(batch, 1..16);
    let config = Config { cases: 60, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let tried = runner.run(&batches, |batches| {
        let mut numbers = Numbers::default();
        let mut memory = Subject::Memory(MemoryStore::new());
        let mut file = Subject::Sqlite(None, Folder::new("model"));
        for (ops, restart) in batches {
            let batch: Vec<Write> = ops.iter().map(|op| numbers.write(op)).collect();
            let (one, two) = (memory.store().commit(&batch), file.store().commit(&batch));
            prop_assert_eq!(
                one.as_ref().err().map(discriminant),
                two.as_ref().err().map(discriminant),
                "{:?} {:?}",
                one,
                two
            );
            if restart || one.is_err() {
                file.restart();
            }
            prop_assert_eq!(answers(memory.store(), &numbers), answers(file.store(), &numbers));
            if one.is_err() {
                break;
            }
        }
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}
