//! The figures of small traces by hand, and those of the published tables of real traces, where these are at hand.

use std::path::{Path, PathBuf};

use super::*;
use crate::workload::testing::TempFile;

fn info_of(content: &str) -> Result<TraceInfo, FileError> {
    info(TempFile::new(content.as_bytes()).path())
}

#[test]
fn a_small_trace_by_hand() {
    let found = info_of("arrival_s,endpoint,service_s\n0,a,1\n10,b,2\n100,a,4\n180,a,\n").unwrap();
    assert_eq!((found.span_s, found.all.rows, found.endpoints.len()), (180.0, 4, 2));
    assert_eq!(found.all.mean_rate, Some(4.0 / 180.0));
    assert_eq!(found.all.peak_minute_rate, 2.0 / 60.0);
    // Minutes 0, 1 and 2 are whole and hold 2, 1 and 0 requests.
    assert_eq!(found.all.empty_minutes, Some(1.0 / 3.0));
    // Gaps of 10, 90 and 80 s.
    assert_eq!(found.all.time_in_long_gaps, Some(170.0 / 180.0));
    assert_eq!(found.all.gap_s.unwrap().p50, 80.0);
    let a = &found.endpoints[0];
    assert_eq!((a.endpoint.as_str(), a.rows, a.service_s.unwrap().count), ("a", 3, 2));
    let b = &found.endpoints[1];
    // One request at 10 s, and silence up to the end of the file.
    assert_eq!((b.gap_cv, b.time_in_long_gaps, b.input_tokens), (None, Some(170.0 / 180.0), None));
}

#[test]
fn a_trace_without_rows_has_no_figures() {
    let error = info_of("arrival_s,endpoint\n").unwrap_err().to_string();
    assert!(error.ends_with("the trace has a header but no row"), "{error}");
    let single = info_of("arrival_s,endpoint\n0,a\n").unwrap();
    assert_eq!((single.all.mean_rate, single.all.rows), (None, 1));
}

#[test]
fn histograms_count_every_request_once() {
    let file = TempFile::new(b"arrival_s,endpoint\n0,a\n4.9,b\n5,a\n10,a\n");
    let counts = histogram(file.path(), 5.0, 2, &["b"]).unwrap();
    assert_eq!(counts, [[2, 2], [1, 0]]);
}

/// The folder of the traces that the tables below describe; they are not part of this repository.
#[allow(clippy::disallowed_methods, reason = "a test may be told where the traces are")]
fn traces() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    let named = std::env::var_os("THERMOCLINE_TRACES").map(PathBuf::from);
    let found = named.into_iter().chain([beside]).find(|folder| folder.is_dir());
    if found.is_none() {
        let required = std::env::var("THERMOCLINE_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|what| what == "traces"), "THERMOCLINE_REQUIRE=traces, but there are none");
        println!("skipped: no folder of traces (set THERMOCLINE_TRACES)");
    }
    found
}

/// `value` as it is printed in the tables: so many decimals.
fn agrees(what: &str, value: Option<f64>, printed: f64, decimals: i32) {
    let value = value.unwrap_or_else(|| panic!("{what} is missing"));
    let half = 0.5 * 0.1f64.powi(decimals) * 1.000_001;
    assert!((value - printed).abs() <= half, "{what}: {value}, but the table has {printed}");
}

/// File, rows, mean rate, peak rate, peak over mean, CV, IoD 1 min, IoD 10 min, empty minutes and time in long gaps in percent.
type Line = (&'static str, u64, [f64; 8]);

const FILES: &[Line] = &[
    ("aws-elb-a.csv.gz", 151_592, [0.2193, 1.533, 7.0, 2.19, 10.9, 54.8, 5.0, 12.0]),
    ("azure-llm-code-2023.csv", 8_819, [2.5667, 10.533, 4.1, 13.15, 160.5, 255.5, 21.0, 42.0]),
    ("azure-llm-conv-2023.csv", 19_366, [5.5304, 8.450, 1.5, 1.09, 20.6, 155.5, 0.0, 0.0]),
    ("gentd26-image-a.csv", 11_086, [0.0099, 0.217, 22.0, 11.54, 3.2, 24.2, 77.0, 84.0]),
    ("mentions-a.csv.gz", 72_879, [0.0402, 0.917, 22.8, 2.66, 14.2, 120.0, 36.0, 63.0]),
    ("mooncake-conversation.csv", 12_031, [3.4015, 4.117, 1.2, 3.03, 2.8, 10.7, 0.0, 0.0]),
    ("servegen-llm-week1.csv.gz", 104_894, [0.1734, 6.167, 35.6, 21.27, 38.8, 325.7, 30.0, 37.0]),
];

#[test]
fn the_published_table_of_files_is_reproduced() {
    let Some(folder) = traces() else { return };
    for (file, rows, printed) in FILES {
        let all = info(&folder.join(file)).unwrap().all;
        assert_eq!(all.rows, *rows, "{file}");
        let percent = |share: Option<f64>| share.map(|share| share * 100.0);
        agrees(&format!("{file}: mean rate"), all.mean_rate, printed[0], 4);
        agrees(&format!("{file}: peak rate"), Some(all.peak_minute_rate), printed[1], 3);
        agrees(&format!("{file}: peak over mean"), all.peak_to_mean, printed[2], 1);
        agrees(&format!("{file}: CV of gaps"), all.gap_cv, printed[3], 2);
        agrees(&format!("{file}: IoD 1 min"), all.iod_1_min, printed[4], 1);
        agrees(&format!("{file}: IoD 10 min"), all.iod_10_min, printed[5], 1);
        agrees(&format!("{file}: empty minutes"), percent(all.empty_minutes), printed[6], 0);
        agrees(&format!("{file}: time in long gaps"), percent(all.time_in_long_gaps), printed[7], 0);
    }
}

/// File, endpoint, rows, and the columns as above without peak over mean.
const ENDPOINTS: &[(&str, &str, u64, [f64; 7])] = &[
    ("gentd26-image-a.csv", "sd-M0002", 3_064, [0.00273, 0.117, 6.92, 1.8, 8.5, 89.0, 96.0]),
    ("gentd26-image-a.csv", "sd-M0003", 678, [0.00060, 0.150, 9.68, 1.6, 5.0, 97.0, 100.0]),
    ("gentd26-image-a.csv", "sd-M0026", 694, [0.00062, 0.050, 7.93, 1.3, 7.7, 97.0, 99.0]),
    ("gentd26-image-a.csv", "sd-M0011", 327, [0.00029, 0.050, 3.98, 1.1, 2.7, 98.0, 100.0]),
    ("mentions-a.csv.gz", "mentions-ups", 46_296, [0.02552, 0.883, 3.98, 20.5, 176.9, 65.0, 86.0]),
    ("mentions-a.csv.gz", "mentions-cvs", 1_765, [0.00097, 0.217, 1.52, 1.4, 3.3, 95.0, 100.0]),
    ("servegen-llm-week1.csv.gz", "clumpy", 35_875, [0.05932, 1.550, 19.01, 20.0, 101.6, 67.0, 82.0]),
    ("servegen-llm-week1.csv.gz", "steady", 19_464, [0.03218, 0.233, 14.78, 2.5, 16.9, 40.0, 51.0]),
    ("servegen-llm-week1.csv.gz", "spiky", 20_975, [0.03468, 0.750, 18.99, 9.0, 79.3, 63.0, 73.0]),
    ("servegen-llm-week1.csv.gz", "onoff", 18_653, [0.03084, 5.933, 36.86, 137.5, 1254.0, 92.0, 96.0]),
    ("servegen-llm-week1.csv.gz", "batch", 1_068, [0.00177, 1.183, 25.92, 17.1, 129.5, 98.0, 98.0]),
];

#[test]
fn the_published_table_of_endpoints_is_reproduced() {
    let Some(folder) = traces() else { return };
    for (file, name, rows, printed) in ENDPOINTS {
        let info = info(&folder.join(file)).unwrap();
        let found = info.endpoints.iter().find(|info| info.endpoint == *name).unwrap();
        assert_eq!(found.rows, *rows, "{name}");
        let percent = |share: Option<f64>| share.map(|share| share * 100.0);
        agrees(&format!("{name}: mean rate"), found.mean_rate, printed[0], 5);
        agrees(&format!("{name}: peak rate"), Some(found.peak_minute_rate), printed[1], 3);
        agrees(&format!("{name}: CV of gaps"), found.gap_cv, printed[2], 2);
        agrees(&format!("{name}: IoD 1 min"), found.iod_1_min, printed[3], 1);
        agrees(&format!("{name}: IoD 10 min"), found.iod_10_min, printed[4], 1);
        agrees(&format!("{name}: empty minutes"), percent(found.empty_minutes), printed[5], 0);
        agrees(&format!("{name}: time in long gaps"), percent(found.time_in_long_gaps), printed[6], 0);
    }
}

#[test]
fn the_published_quantiles_are_reproduced() {
    let Some(folder) = traces() else { return };
    type Column = fn(&EndpointInfo) -> Option<Quantiles>;
    let table: [(&str, Column, [f64; 5]); 5] = [
        ("azure-llm-code-2023.csv", |all| all.output_tokens, [27.9, 13.0, 55.0, 251.0, 1899.0]),
        ("azure-llm-code-2023.csv", |all| all.input_tokens, [2047.8, 1469.0, 5188.0, 7436.0, 7437.0]),
        ("azure-llm-conv-2023.csv", |all| all.output_tokens, [211.1, 129.0, 424.0, 601.0, 1000.0]),
        ("gentd26-image-a.csv", |all| all.service_s, [27.2, 22.0, 47.0, 92.0, 567.0]),
        ("servegen-llm-week1.csv.gz", |all| all.input_tokens, [6335.5, 1564.0, 19069.0, 62758.0, 125249.0]),
    ];
    for (file, column, printed) in table {
        let found = column(&info(&folder.join(file)).unwrap().all).unwrap();
        agrees(&format!("{file}: mean"), Some(found.mean), printed[0], 1);
        assert_eq!([found.p50, found.max], [printed[1], printed[4]], "{file}");
        // The table interpolates between neighbours, which are less than 0.5 % apart there.
        for (found, printed) in [(found.p90, printed[2]), (found.p99, printed[3])] {
            assert!((found / printed - 1.0).abs() < 0.005, "{file}: {found}, but the table has {printed}");
        }
    }
}
