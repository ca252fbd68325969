//! What containers say, on its way into the log, with the engine's own times.

use std::sync::Arc;

use bollard::Docker;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

use super::super::logs::Splitter;
use super::{Host, engine};

/// Follows a container until it ends. What was said up to `said_ns` is in the log already.
pub(super) async fn follow(host: Arc<Host>, docker: Docker, worker: String, said_ns: u64) {
    let since = i32::try_from(said_ns / 1_000_000_000).unwrap_or(0);
    let options =
        LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).timestamps(true).since(since).build();
    let mut said_ns = said_ns;
    let mut pieces = Box::pin(docker.logs(&host.container_name(&worker), Some(options)));
    while let Some(piece) = pieces.next().await {
        let bytes = match piece {
            Ok(piece) => piece.into_bytes(),
            Err(error) => {
                tracing::debug!(worker, error = engine::words(&error), "the output of a container breaks off");
                return;
            }
        };
        let mut splitter = Splitter::default();
        let mut lines = splitter.feed(&bytes);
        lines.extend(splitter.finish());
        for line in lines {
            let (ns, text) =
                line.split_once(' ').and_then(|(at, text)| Some((nanos(at)?, text))).unwrap_or((said_ns + 1, &line));
            if ns > said_ns {
                said_ns = ns;
                host.logs.output(&worker, ns / 1_000_000, &[text.to_owned()]);
            }
        }
        if let Some(launch) = host.lock().launches.get_mut(&worker) {
            launch.said_ns = said_ns;
        }
    }
}

/// An RFC 3339 time as the engine writes it, in ns since 1970.
pub(super) fn nanos(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let zone_at = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let offset = match zone {
        "Z" => 0,
        zone => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let fits = (1970..=2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || !fraction.bytes().all(|b| b.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, with the year beginning in March so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    let nanos: u64 = format!("{fraction:0<9}").parse().ok()?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_engine_are_read() {
        let second = 1_000_000_000;
        assert_eq!(nanos("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanos("2000-02-29T12:34:56.5Z"), Some(951_827_696 * second + 500_000_000));
        assert_eq!(nanos("2000-02-29T14:34:56.000000001+02:00"), Some(951_827_696 * second + 1));
        assert_eq!(nanos("2026-11-22T09:59:16.392940804Z"), Some(1_795_341_556 * second + 392_940_804));
        for wrong in [
            "",
            "T",
            "2000-13-01T00:00:00Z",
            "2000-01-01T00:00:00",
            "x-01-01T00:00:00Z",
            "2000-01-01T00:00:00.1234567890Z",
        ] {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
    }
}
