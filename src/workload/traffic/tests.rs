//! Rates, variability and correlation of every arrival process, and how sources combine: fixed seeds, 4.5 standard errors.

use std::sync::Arc;

use super::*;
use crate::units::Span;
use crate::workload::testing::{Moments, TempFile, Words, assert_near};
use crate::workload::{ArrivalSpec, Distribution, TraceOptions, TraceSource};

fn open(sources: Vec<TrafficSource>) -> TrafficStream<Words> {
    TrafficStream::open(&Traffic { sources }, |draw, source| Words::new(u64::from(source) << 8 | draw as u64)).unwrap()
}

/// Arrival times in seconds of `spec` alone.
fn times(spec: ArrivalSpec, count: usize) -> Vec<f64> {
    let mut stream = open(vec![TrafficSource::new(spec)]);
    let times: Vec<f64> = std::iter::from_fn(|| stream.pop().unwrap()).take(count).map(|a| a.at.as_secs()).collect();
    assert!(times.is_sorted());
    times
}

fn gaps(spec: ArrivalSpec, count: usize) -> Vec<f64> {
    times(spec, count).windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Counts in consecutive windows of `window_s`.
fn counts(spec: ArrivalSpec, window_s: f64, windows: usize) -> Vec<f64> {
    let mut source = TrafficSource::new(spec);
    source.until = Some(Time::from_secs(window_s * windows as f64));
    let mut stream = open(vec![source]);
    let mut counts = vec![0.0; windows];
    while let Some(arrival) = stream.pop().unwrap() {
        counts[(arrival.at.as_secs() / window_s) as usize] += 1.0;
    }
    counts
}

#[test]
fn poisson_gaps_are_exponential() {
    // At 100,000 a second a gap is 10 us: rounding each one would bias neither mean nor variation visibly, losing the fraction
    // would (by 5 %).
    for rate in [0.5, 100_000.0] {
        let gaps = Moments::of(&gaps(ArrivalSpec::Poisson { rate }, 200_000));
        assert_near("mean gap", gaps.mean, 1.0 / rate, 0.01);
        assert_near("scv of gaps", gaps.scv, 1.0, 0.02);
    }
    assert!(times(ArrivalSpec::Poisson { rate: 0.0 }, 10).is_empty());
}

#[test]
fn renewal_gaps_have_the_variation_asked_for() {
    for gap in [Distribution::Weibull { mean: 0.3, cv: 2.0 }, Distribution::Gamma { mean: 0.3, cv: 0.5 }] {
        let found = Moments::of(&gaps(ArrivalSpec::Renewal { gap: gap.clone() }, 200_000));
        assert_near("mean gap", found.mean, 0.3, 0.01);
        assert_near("scv of gaps", found.scv, gap.scv().unwrap(), 0.1);
    }
}

#[test]
fn an_interrupted_poisson_process_has_its_known_gaps() {
    // On for 10 s at 2 / s, off for 40 s on average. Its gaps are hyperexponential (A. Kuczura, 1973): with rate l, on-to-off w1
    // and off-to-on w2, the mean is (w1 + w2) / (l w2) and scv = 1 + 2 l w1 / (w1 + w2)^2.
    let (rate, off, on): (f64, f64, f64) = (2.0, 0.1, 0.025);
    let spec = ArrivalSpec::Mmpp { rates: vec![rate, 0.0], mean_stay_s: vec![1.0 / off, 1.0 / on] };
    assert_eq!(spec.mean_rate(), Some(0.4));
    let gaps = Moments::of(&gaps(spec, 400_000));
    assert_near("mean gap", gaps.mean, (off + on) / (rate * on), 0.02);
    assert_near("scv of gaps", gaps.scv, 1.0 + 2.0 * rate * off / (off + on).powi(2), 0.05);
}

#[test]
fn a_modulated_process_starts_stationary() {
    // The first 2 s hold 2 x 7.75 arrivals on average over seeds, whichever state comes first.
    let spec = ArrivalSpec::Mmpp { rates: vec![1.0, 10.0], mean_stay_s: vec![5.0, 15.0] };
    let first: Vec<f64> = (0..4_000)
        .map(|seed| {
            let mut source = TrafficSource::new(spec.clone());
            source.until = Some(Time::from_secs(2.0));
            let traffic = Traffic { sources: vec![source] };
            let mut stream = TrafficStream::open(&traffic, |_, _| Words::new(seed * 7_919)).unwrap();
            std::iter::from_fn(|| stream.pop().unwrap()).count() as f64
        })
        .collect();
    assert_near("arrivals in the first 2 s", Moments::of(&first).mean, 15.5, 0.02);
}

#[test]
fn batches_come_together() {
    let spec = ArrivalSpec::Batch { rate: 1.0, size: Distribution::Constant { value: 3.4 } };
    let times = times(spec, 30_000);
    assert!(times.chunks(3).all(|batch| batch[0] == batch[2]));
    let gaps: Vec<f64> =
        times.chunks(3).map(|batch| batch[0]).collect::<Vec<_>>().windows(2).map(|p| p[1] - p[0]).collect();
    assert_near("gap between batches", Moments::of(&gaps).mean, 1.0, 0.02);
}

#[test]
fn self_excited_counts_are_dispersed_as_known() {
    // The index of dispersion of long windows tends to 1 / (1 - branching)^2 = 4; 100 s are 100 times the memory of
    // 1 / (decay (1 - branching)) = 1 s, which leaves about 1.5 %.
    let spec = ArrivalSpec::Hawkes { base_rate: 2.0, branching: 0.5, decay: 2.0 };
    let counts = Moments::of(&counts(spec.clone(), 100.0, 20_000));
    assert_near("arrivals per window", counts.mean, 100.0 * spec.mean_rate().unwrap(), 0.01);
    let dispersion = (counts.scv.0 * counts.mean.0, counts.scv.1 * counts.mean.0 + 0.02);
    assert_near("index of dispersion", dispersion, 4.0, 0.05);
}

#[test]
fn without_branching_it_is_poisson_and_without_base_silent() {
    let gaps = Moments::of(&gaps(ArrivalSpec::Hawkes { base_rate: 5.0, branching: 0.0, decay: 1.0 }, 100_000));
    assert_near("mean gap", gaps.mean, 0.2, 0.01);
    assert_near("scv of gaps", gaps.scv, 1.0, 0.03);
    assert!(times(ArrivalSpec::Hawkes { base_rate: 0.0, branching: 0.5, decay: 1.0 }, 5).is_empty());
}

#[test]
fn closed_loop_clients_wait_for_their_outcome() {
    let think = Distribution::Constant { value: 5.0 };
    let mut stream = open(vec![TrafficSource::new(ArrivalSpec::ClosedLoop { users: 2, think })]);
    let at = |stream: &mut TrafficStream<Words>| stream.pop().unwrap().map(|arrival| arrival.at.as_secs());
    assert_eq!((at(&mut stream), at(&mut stream), at(&mut stream)), (Some(5.0), Some(5.0), None));
    assert_eq!(stream.peek(), None);
    stream.job_ended(0, Time::from_secs(7.0));
    assert_eq!(stream.peek(), Some(Time::from_secs(12.0)));
    stream.job_ended(0, Time::from_secs(6.0));
    // The later outcome came first, but the earlier submission goes first.
    assert_eq!((at(&mut stream), at(&mut stream), at(&mut stream)), (Some(11.0), Some(12.0), None));
    stream.job_ended(0, Time::from_secs(12.0));
    stream.job_ended(0, Time::from_secs(12.0));
    stream.job_ended(0, Time::from_secs(12.0));
    assert_eq!((at(&mut stream), at(&mut stream), at(&mut stream)), (Some(17.0), Some(17.0), None));
}

#[test]
fn a_client_that_is_refused_at_once_does_not_stop_the_clock() {
    let think = Distribution::Constant { value: 0.0 };
    let mut stream = open(vec![TrafficSource::new(ArrivalSpec::ClosedLoop { users: 1, think })]);
    let mut last = None;
    for _ in 0..10 {
        let arrival = stream.pop().unwrap().unwrap();
        assert!(last < Some(arrival.at));
        last = Some(arrival.at);
        stream.job_ended(arrival.source, arrival.at);
    }
}

#[test]
fn sources_are_merged_in_order_and_keep_their_own_draws() {
    let poisson = |rate: f64| TrafficSource::new(ArrivalSpec::Poisson { rate });
    let mut all = open((1..=5).map(|i| poisson(f64::from(i))).collect());
    let mut by_source = vec![Vec::new(); 5];
    let mut last = Time::ZERO;
    for _ in 0..5_000 {
        let arrival = all.pop().unwrap().unwrap();
        assert!(arrival.at >= last);
        last = arrival.at;
        by_source[arrival.source as usize].push(arrival.at);
    }
    // The first three alone give what they gave among five.
    let mut some = open((1..=3).map(|i| poisson(f64::from(i))).collect());
    for _ in 0..500 {
        let arrival = some.pop().unwrap().unwrap();
        let at = by_source[arrival.source as usize].remove(0);
        assert_eq!(at, arrival.at);
    }
}

#[test]
fn windows_open_and_close() {
    let mut late = TrafficSource::new(ArrivalSpec::Times { at_s: Arc::new(vec![0.0, 1.0, 2.0]) });
    late.from = Time::from_secs(10.0);
    late.until = Some(Time::from_secs(12.0));
    late.execution_timeout = Millis::new(1_500);
    let early = TrafficSource::new(ArrivalSpec::Times { at_s: Arc::new(vec![3.0, 11.0]) });
    let mut stream = open(vec![late, early]);
    let all: Vec<(f64, u32)> =
        std::iter::from_fn(|| stream.pop().unwrap()).map(|arrival| (arrival.at.as_secs(), arrival.source)).collect();
    assert_eq!(all, [(3.0, 1), (10.0, 0), (11.0, 0), (11.0, 1)]);
}

#[test]
fn marks_have_their_shares_and_move_no_arrival() {
    let plain = TrafficSource::new(ArrivalSpec::Poisson { rate: 1.0 });
    let mut marked = plain.clone();
    marked.low_priority_share = 0.3;
    marked.ttl = Some(Distribution::Uniform { min: 0.0001, max: 10.0 });
    let (mut plain, mut marked) = (open(vec![plain]), open(vec![marked]));
    let (mut low, mut ttl) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        let (plain, marked) = (plain.pop().unwrap().unwrap(), marked.pop().unwrap().unwrap());
        assert_eq!(plain.at, marked.at);
        assert_eq!((plain.low_priority, plain.ttl), (false, None));
        low.push(f64::from(u8::from(marked.low_priority)));
        ttl.push(marked.ttl.unwrap().span().as_secs());
    }
    assert_near("low priority", Moments::of(&low).mean, 0.3, 0.02);
    assert_near("TTL", Moments::of(&ttl).mean, 5.0, 0.02);
    assert_eq!((millis(0.0).span(), millis(1e12).span()), (Span::from_millis(1), Span::from_millis(u32::MAX.into())));
}

#[test]
fn traces_join_the_stream_and_fail_with_a_place() {
    let file = TempFile::new(b"arrival_s,endpoint,input_tokens\n1,a,7\n2,a,8\n3,a,x\n");
    let trace = TraceSource { path: file.path().to_owned(), options: TraceOptions::default() };
    let mut stream = open(vec![TrafficSource::new(ArrivalSpec::Trace(trace))]);
    assert_eq!(stream.pop().unwrap().unwrap().work.input_tokens, Some(7));
    let error = stream.pop().unwrap_err().to_string();
    assert!(error.contains(":4:5: input_tokens is not a whole number"), "{error}");
}

#[test]
fn rows_in_memory_bring_their_work() {
    let work = [7, 8].map(|tokens| WorkHint { input_tokens: Some(tokens), ..WorkHint::default() });
    let rows = ArrivalSpec::Rows { at_s: Arc::new(vec![1.0, 1.5]), work: Arc::new(work.to_vec()) };
    let mut stream = open(vec![TrafficSource { from: Time::from_secs(10.0), ..TrafficSource::new(rows) }]);
    let mut next = || stream.pop().unwrap().map(|arrival| (arrival.at, arrival.work));
    assert_eq!(next(), Some((Time::from_secs(11.0), work[0])));
    assert_eq!(next(), Some((Time::from_secs(11.5), work[1])));
    assert_eq!(next(), None);
}

#[test]
fn opening_checks_every_source() {
    let sources = vec![TrafficSource::new(ArrivalSpec::Poisson { rate: -1.0 })];
    let error = TrafficStream::open(&Traffic { sources }, |_, _| Words::new(0)).unwrap_err();
    assert_eq!(error.to_string(), "arrivals: rate is -1, but must be a number from 0 to 1000000");
    assert_eq!(open(vec![]).peek(), None);
}
