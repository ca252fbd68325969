//! Names of the columns of logs, as people and programs give them.

/// Names of the moment at which a request came: in lower case, without `_`, blanks and what stands in brackets.
const TIMES: &[&str] = &[
    "arrival",
    "arrivals",
    "arrivalms",
    "arrivaltime",
    "at",
    "ats",
    "atms",
    "created",
    "createdat",
    "createdtime",
    "date",
    "datetime",
    "datetimeutc",
    "enqueuedat",
    "epoch",
    "epochms",
    "epochs",
    "eventtime",
    "invocationtime",
    "queuedat",
    "received",
    "receivedat",
    "requestedat",
    "requesttime",
    "requesttimestamp",
    "start",
    "started",
    "startedat",
    "startms",
    "starts",
    "starttime",
    "starttimestamp",
    "submitted",
    "submittedat",
    "submittime",
    "t",
    "time",
    "timelocal",
    "timems",
    "times",
    "timestamp",
    "timestampms",
    "timestamps",
    "timestamputc",
    "timeunix",
    "timeutc",
    "ts",
    "tsms",
    "unixtime",
    "when",
];
/// Names of another moment in the life of a request, taken where there is no better one.
const OTHER_TIMES: &[&str] = &[
    "end",
    "ended",
    "endedat",
    "endtime",
    "completed",
    "completedat",
    "finished",
    "finishedat",
    "updatedat",
    "loggedat",
];
/// Names of numbers that are no times.
const NO_TIMES: &[&str] =
    &["", "bytes", "code", "count", "id", "index", "line", "n", "no", "nr", "number", "port", "row", "size", "status"];
/// Words in the name of a length of time.
const LENGTHS: &[&str] = &[
    "duration",
    "elapsed",
    "execution",
    "latency",
    "processing",
    "response",
    "runtime",
    "service",
    "took",
    "timetaken",
];

/// Words in the name of something else about a request, or of a time before its work.
const OTHERS: &[&str] =
    &["bytes", "code", "cold", "delay", "endpoint", "name", "queue", "size", "start", "status", "tokens", "wait"];

/// A name as the lists have it.
pub fn plain(name: &str) -> String {
    let name = name.split('(').next().unwrap_or_default().to_lowercase();
    name.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// This is the name of the length of a job.
pub fn is_length(name: &str) -> bool {
    let plain = plain(name);
    !TIMES.contains(&plain.as_str())
        && LENGTHS.iter().any(|word| plain.contains(word))
        && !OTHERS.iter().any(|word| plain.contains(word))
}

/// 2: the name of the moment at which a request came, 1: of a later one, 0: none that is known, -1: of something else.
pub fn named(name: &str) -> i32 {
    let plain = plain(name);
    match plain.as_str() {
        name if TIMES.contains(&name) => 2,
        name if OTHER_TIMES.contains(&name) => 1,
        name if NO_TIMES.contains(&name) || is_length(name) || name.ends_with("id") => -1,
        _ => 0,
    }
}

/// The unit that a name ends with, such as `latency_ms` or `Duration (s)`.
pub fn unit_in(name: &str) -> Option<(f64, &'static str)> {
    let lower = name.to_lowercase();
    let last = lower.trim_end_matches([')', ']']).rsplit(['_', ' ', '(', '[', '-', '.']).next()?;
    if last.len() == lower.len() {
        return None;
    }
    match last {
        "s" | "sec" | "secs" | "second" | "seconds" => Some((1.0, "seconds")),
        "ms" | "msec" | "millis" | "milliseconds" => Some((1e-3, "milliseconds")),
        "us" | "micros" | "microseconds" => Some((1e-6, "microseconds")),
        "ns" | "nanos" | "nanoseconds" => Some((1e-9, "nanoseconds")),
        _ => None,
    }
}

/// Lengths with these names may hold what a request waited for.
pub fn holds_waiting(name: &str) -> bool {
    ["latency", "response", "elapsed", "took", "timetaken"].iter().any(|word| plain(name).contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lengths_and_other_numbers_are_told_apart() {
        for name in ["time", "Timestamp (UTC)", "@timestamp", "created_at", "startTime", "arrival_s", "epoch_ms", "t"] {
            assert_eq!((named(name), is_length(name)), (2, false), "{name}");
        }
        assert_eq!((named("finished_at"), named("visitors")), (1, 0));
        for name in ["duration_ms", "response_time", "Latency (s)", "service_s", "executionTime"] {
            assert_eq!((named(name), is_length(name)), (-1, true), "{name}");
        }
        for name in ["id", "user_id", "status", ""] {
            assert_eq!((named(name), is_length(name)), (-1, false), "{name}");
        }
        assert!(!is_length("queue_duration_s") && !is_length("response_tokens") && !is_length("startup_latency_s"));
        assert!(holds_waiting("response_time") && !holds_waiting("execution_s"));
    }

    #[test]
    fn the_end_of_a_name_tells_the_unit() {
        let units = ["duration_ms", "Duration (s)", "latency-us", "took.ns", "s", "class"]
            .map(|name| unit_in(name).map(|unit| unit.0));
        assert_eq!(units, [Some(1e-3), Some(1.0), Some(1e-6), Some(1e-9), None, None]);
    }
}
