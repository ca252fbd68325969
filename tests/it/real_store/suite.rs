//! What every store does, one behaviour a test, on the file and in memory, before and after a restart.

use bytes::Bytes;
use thermocline::real::store::{DeliveryState, StoreError, Write};

use super::*;

fn ids(rows: &[JobRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

fn texts(pieces: &[Bytes]) -> Vec<&str> {
    pieces.iter().map(|piece| std::str::from_utf8(piece).unwrap()).collect()
}

#[test]
fn a_job_is_read_back_with_its_payloads_through_its_whole_life() {
    on_both("life", |subject| {
        let s3 = Some(Bytes::from_static(b"{\"accessSecret\":\"x\"}"));
        let input = Bytes::from_static(b"{\"prompt\": 1}");
        subject.commit(&[
            Write::JobAdded { row: Box::new(row("a", 1)), input: input.clone(), s3: s3.clone(), idempotency_key: None },
            added("b", 2),
        ]);
        for restarted in [false, true] {
            if restarted {
                subject.restart();
                assert_eq!(subject.load().jobs, [row("a", 1), row("b", 2)]);
            }
            let reader = subject.store().reader();
            assert_eq!(reader.job("a").unwrap(), Some(row("a", 1)));
            assert_eq!(reader.input("a").unwrap(), Some((input.clone(), s3.clone())));
            assert_eq!(reader.input("b").unwrap(), Some((Bytes::from_static(b"{\"prompt\":\"b\"}"), None)));
            assert_eq!(reader.output("a").unwrap(), None);
            assert_eq!(reader.job("none").unwrap(), None);
        }
        subject.commit(&[ended("a", 9_000, "[1, 2]")]);
        subject.restart();
        let found = subject.load();
        assert_eq!((ids(&found.jobs), found.last_client_ref), (vec!["b"], 2));
        let reader = subject.store().reader();
        assert_eq!(reader.job("a").unwrap().and_then(|job| job.end), Some(end(9_000)));
        assert_eq!(reader.output("a").unwrap().as_deref(), Some(&b"[1, 2]"[..]));
        assert_eq!(reader.expired(8_999, 10).unwrap(), Vec::<String>::new());
        assert_eq!(reader.expired(9_000, 10).unwrap(), ["a"]);
        subject.commit(&[dropped("a")]);
        subject.restart();
        let reader = subject.store().reader();
        assert_eq!(reader.job("a").unwrap(), None);
        assert_eq!(reader.input("a").unwrap(), None);
        assert_eq!(reader.output("a").unwrap(), None);
        assert_eq!(reader.tombstone("a").unwrap().as_deref(), Some("expired"));
        assert_eq!(reader.tombstone("b").unwrap(), None);
        assert_eq!(subject.load().last_client_ref, 2);
    });
}

#[test]
fn the_first_outcome_stands() {
    on_both("first", |subject| {
        subject.commit(&[added("a", 1), ended("a", 9_000, "1"), ended("a", 1, "2")]);
        let reader = subject.store().reader();
        assert_eq!(reader.job("a").unwrap().and_then(|job| job.end), Some(end(9_000)));
        assert_eq!(reader.output("a").unwrap().as_deref(), Some(&b"1"[..]));
        subject.restart();
        assert!(subject.load().jobs.is_empty());
    });
}

#[test]
fn a_retry_drops_the_end_and_the_output_and_keeps_the_input() {
    on_both("retry", |subject| {
        let chunk = |number| Write::ChunkAdded { id: "a".to_owned(), number, value: Bytes::from_static(b"1") };
        let retry = Write::JobRetried { id: "a".to_owned(), client_ref: 5, generation: 2, submitted_ms: 77 };
        subject.commit(&[added("a", 1), added("b", 2), chunk(0), chunk(1), ended("a", 9_000, "1"), retry]);
        subject.restart();
        let found = subject.load();
        assert_eq!((ids(&found.jobs), found.last_client_ref), (vec!["b", "a"], 5));
        let again = JobRow { client_ref: 5, generation: 2, submitted_ms: 77, ..row("a", 1) };
        let reader = subject.store().reader();
        assert_eq!(reader.job("a").unwrap(), Some(again));
        assert_eq!(reader.output("a").unwrap(), None);
        assert_eq!(reader.chunks("a").unwrap(), (0, Vec::new()));
        assert!(reader.input("a").unwrap().is_some() && reader.expired(u64::MAX, 9).unwrap().is_empty());
        assert_eq!(ids(&reader.list("llm", 0, 9).unwrap().0), ["a", "b"]);
        subject.commit(&[ended("a", 9_500, "2")]);
        assert_eq!(subject.store().reader().output("a").unwrap().as_deref(), Some(&b"2"[..]));
    });
}

#[test]
fn an_id_is_never_used_twice_and_the_batch_with_it_leaves_nothing() {
    on_both("ids", |subject| {
        subject.commit(&[added("a", 1), added("b", 2), ended("a", 1, "1"), dropped("a")]);
        for used in ["a", "b"] {
            let refused = subject.store().commit(&[added("c", 3), meta("m", "1"), added(used, 4)]);
            assert!(matches!(refused, Err(StoreError::Fatal(_))), "{used}: {refused:?}");
            // After a failure that must never be, nothing more is taken before a restart.
            let after = subject.store().commit(&[meta("m", "2")]);
            if matches!(subject, Subject::Memory(_)) {
                assert!(matches!(after, Err(StoreError::Fatal(_))));
                return;
            }
            assert!(matches!(after, Err(StoreError::Fatal(_))));
            subject.restart();
            let found = subject.load();
            assert_eq!((ids(&found.jobs), found.last_client_ref, found.meta.len()), (vec!["b"], 2, 0));
            assert_eq!(subject.store().reader().job("c").unwrap(), None);
        }
    });
}

#[test]
fn a_snapshot_takes_the_place_of_the_events_before_it() {
    on_both("snapshot", |subject| {
        subject.commit(&[event(0), event(1), event(2)]);
        subject.commit(&[event(3), snapshot(2), event(4)]);
        subject.restart();
        let found = subject.load();
        let seqs: Vec<(u64, Time)> = found.events.iter().map(|(seq, at, _)| (*seq, *at)).collect();
        assert_eq!(seqs, [(3, Time(30)), (4, Time(40))]);
        assert!(matches!(found.events[0].2, Event::JobSubmitted { client_ref: 3, .. }));
        assert_eq!(found.snapshot, Some((2, Time(20), Bytes::from_static(b"everything up to 2"))));
        subject.commit(&[snapshot(4)]);
        subject.restart();
        let found = subject.load();
        assert_eq!((found.events.len(), found.snapshot.map(|snapshot| snapshot.0)), (0, Some(4)));
        subject.commit(&[event(5)]);
        let gap = subject.store().commit(&[event(7)]);
        assert!(matches!(gap, Err(StoreError::Fatal(text)) if text.contains("event 7") && text.contains("event 5")));
    });
}

#[test]
fn pieces_of_a_stream_are_given_out_once() {
    on_both("chunks", |subject| {
        let chunk =
            |number: u64, text: &'static str| Write::ChunkAdded { id: "a".to_owned(), number, value: text.into() };
        let taken = |next| Write::ChunksTaken { id: "a".to_owned(), next };
        subject.commit(&[added("a", 1), chunk(0, "0"), chunk(1, "1"), chunk(1, "again"), chunk(2, "2")]);
        let (first, pieces) = subject.store().reader().chunks("a").unwrap();
        assert_eq!((first, texts(&pieces)), (0, vec!["0", "1", "2"]));
        subject.commit(&[taken(2), chunk(0, "late")]);
        subject.restart();
        let (first, pieces) = subject.store().reader().chunks("a").unwrap();
        assert_eq!((first, texts(&pieces)), (2, vec!["2"]));
        subject.commit(&[taken(3), taken(1)]);
        assert_eq!(subject.store().reader().chunks("a").unwrap(), (3, Vec::new()));
        assert_eq!(subject.store().reader().chunks("none").unwrap(), (0, Vec::new()));
    });
}

#[test]
fn a_key_leads_to_the_first_job_that_came_with_it_while_that_is_there() {
    on_both("keyed", |subject| {
        let keyed = |id: &str, number| Write::JobAdded {
            row: Box::new(row(id, number)),
            input: Bytes::from_static(b"1"),
            s3: None,
            idempotency_key: Some("k".to_owned()),
        };
        subject.commit(&[keyed("a", 1), keyed("b", 2)]);
        let found =
            |subject: &mut Subject, endpoint, key| subject.store().reader().by_idempotency_key(endpoint, key).unwrap();
        assert_eq!(found(subject, "llm", "k").as_deref(), Some("a"));
        assert_eq!((found(subject, "other", "k"), found(subject, "llm", "K")), (None, None));
        subject.commit(&[dropped("a")]);
        assert_eq!(found(subject, "llm", "k").as_deref(), Some("b"));
        subject.commit(&[dropped("b")]);
        assert_eq!(found(subject, "llm", "k"), None);
    });
}

#[test]
fn jobs_are_listed_newest_first_in_pages() {
    on_both("list", |subject| {
        let batch: Vec<Write> = (1..=5).map(|n| added(&format!("j{n}"), n)).collect();
        subject.commit(&batch);
        let reader = subject.store().reader();
        let page = |offset, limit| {
            let (rows, count) = reader.list("llm", offset, limit).unwrap();
            (ids(&rows).join(" "), count)
        };
        assert_eq!(page(0, 2), ("j5 j4".to_owned(), 5));
        assert_eq!(page(3, 9), ("j2 j1".to_owned(), 5));
        assert_eq!(page(9, 9), (String::new(), 5));
        assert_eq!(reader.list("other", 0, 9).unwrap(), (Vec::new(), 0));
    });
}

#[test]
fn a_result_can_be_given_less_time_and_never_more() {
    on_both("expires", |subject| {
        let expires = |id: &str, at_ms| Write::JobExpires { id: id.to_owned(), at_ms };
        subject.commit(&[added("a", 1), added("b", 2), added("c", 3), ended("a", 100, "1"), ended("b", 100, "1")]);
        // Neither the living nor the unknown have a result that could go.
        subject.commit(&[expires("a", 50), expires("b", 500), expires("c", 50), expires("none", 50)]);
        subject.restart();
        let expired = |subject: &mut Subject, now| subject.store().reader().expired(now, 9).unwrap().join(" ");
        let times = [49, 50, 99, 100, 600].map(|now| expired(subject, now));
        assert_eq!(times, ["", "a", "a", "a b", "a b"]);
    });
}

#[test]
fn deliveries_come_when_they_are_due_and_hold_back_the_expiry() {
    on_both("deliveries", |subject| {
        use DeliveryState::{Delivered, Failed, Pending};
        subject.commit(&[added("a", 1), added("b", 2), ended("a", 10, "1"), ended("b", 10, "1")]);
        subject.commit(&[delivery("b", 0, 100, Pending), delivery("a", 0, 200, Pending)]);
        subject.commit(&[delivery("none", 0, 1, Pending)]);
        subject.restart();
        let due = |subject: &mut Subject, now, limit| {
            let (due, next) = subject.store().reader().due(now, limit).unwrap();
            (due.into_iter().map(|delivery| delivery.job).collect::<Vec<_>>().join(" "), next)
        };
        assert_eq!(due(subject, 99, 9), (String::new(), Some(100)));
        assert_eq!(due(subject, 100, 9), ("b".to_owned(), Some(200)));
        assert_eq!(due(subject, 200, 9), ("b a".to_owned(), None));
        assert_eq!(due(subject, 200, 1), ("b".to_owned(), Some(200)));
        assert!(subject.store().reader().expired(10, 9).unwrap().is_empty());
        subject.commit(&[delivery("b", 1, 300, Pending), delivery("a", 1, 200, Delivered)]);
        assert_eq!(due(subject, 299, 9), (String::new(), Some(300)));
        assert_eq!(subject.store().reader().expired(10, 9).unwrap(), ["a"]);
        subject.commit(&[delivery("b", 3, 300, Failed)]);
        assert_eq!(due(subject, 999, 9), (String::new(), None));
        let kept = subject.store().reader().deliveries("b").unwrap();
        assert_eq!((kept.len(), kept[0].tries, kept[0].state), (1, 3, Failed));
        subject.commit(&[dropped("b")]);
        assert!(subject.store().reader().deliveries("b").unwrap().is_empty());
    });
}

#[test]
fn endpoints_keys_and_named_values_come_back() {
    on_both("rest", |subject| {
        subject.commit(&[
            endpoint(0, 1),
            endpoint(1, 1),
            endpoint(0, 2),
            key("k1", None),
            meta("b", "1"),
            meta("a", "2"),
        ]);
        subject.commit(&[Write::EndpointGone { number: 1 }, key("k1", Some(9)), key("k0", None), meta("b", "3")]);
        subject.restart();
        let found = subject.load();
        let rows: Vec<_> =
            found.endpoints.iter().map(|row| (row.number, row.version, row.from_file, row.gone)).collect();
        assert_eq!(rows, [(0, 1, true, false), (0, 2, false, false), (1, 1, true, true)]);
        let Write::EndpointSet { config, .. } = endpoint(0, 2) else { unreachable!("it is one") };
        assert_eq!((&found.endpoints[1].config, found.endpoints[1].at_ms), (&*config, 7));
        let values: Vec<_> = found.meta.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
        assert_eq!(values, [("a", &b"2"[..]), ("b", &b"3"[..])]);
        let keys: Vec<_> = subject.store().reader().keys().unwrap().into_iter().map(|k| (k.id, k.revoked_ms)).collect();
        assert_eq!(keys, [("k0".to_owned(), None), ("k1".to_owned(), Some(9))]);
    });
}

#[test]
fn tombstones_go_with_the_first_snapshot_after_their_time() {
    on_both("tombstones", |subject| {
        let short = Write::JobDropped { id: "a".to_owned(), reason: "ttl".to_owned(), until_ms: 1 };
        subject.commit(&[event(0), added("a", 1), added("b", 2), short, dropped("b")]);
        assert_eq!(subject.store().reader().tombstone("a").unwrap().as_deref(), Some("ttl"));
        subject.commit(&[snapshot(0)]);
        let reader = subject.store().reader();
        assert_eq!(reader.tombstone("a").unwrap(), None);
        assert_eq!(reader.tombstone("b").unwrap().as_deref(), Some("expired"));
    });
}
