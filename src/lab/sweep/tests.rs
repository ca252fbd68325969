//! Sweeps as a whole: threads, shards and interruptions change nothing.

use std::fs;

use super::*;

const APP: &str =
    "max_jobs: 60\nendpoints:\n  a:\n    preset: sdxl-image\n    traffic: {type: poisson, rate_per_s: 0.02}\n";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("thermocline-sweep-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("app.yaml"), APP).unwrap();
        Scratch(path)
    }

    fn prepared(&self, vary: &[&str], random: Option<(usize, u64)>) -> Result<Prepared, SweepError> {
        let axis = |text: &&str| (Axis::parse(text).unwrap(), (*text).to_owned());
        let policies = ["as_written", "request_count"].map(|name| Candidate::find(name).unwrap());
        Prepared::new(Spec {
            file: self.0.join("app.yaml"),
            overrides: Vec::new(),
            axes: vary.iter().map(axis).collect(),
            random,
            seeds: vec![1, 2],
            policies: policies.to_vec(),
        })
    }

    fn table(&self, folder: &str) -> Vec<u8> {
        fs::read(self.0.join(folder).join("sweep.parquet")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const VARY: [&str; 2] = ["endpoints.*.workers.max=1,2", "endpoints.a.traffic.rate_per_s=0.01..0.04:3"];
const WHOLE: Shard = Shard { index: 0, of: 1 };

fn run(sweep: &Prepared, store: Option<&Store>, shard: Shard, threads: usize) -> Option<Sweep> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| sweep.run(store, shard, &|_| {})).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn threads_shards_and_stores_change_nothing() {
    let scratch = Scratch::new("same");
    let sweep = scratch.prepared(&VARY, None).unwrap();
    let alone = run(&sweep, None, WHOLE, 1).unwrap();
    assert_eq!((alone.points.len(), sweep.manifest().points), (12, 6));
    assert_eq!(run(&sweep, None, WHOLE, 2).unwrap(), alone);
    let open = |name: &str| Store::open(&scratch.0.join(name), &sweep).unwrap();
    assert_eq!(run(&sweep, Some(&open("whole")), WHOLE, 2).unwrap(), alone);
    // In two folders, brought together.
    for index in [1, 0] {
        assert_eq!(run(&sweep, Some(&open(&format!("s{index}"))), Shard { index, of: 2 }, 1), None);
    }
    let folders = ["s0", "s1"].map(|name| scratch.0.join(name));
    let missing = merge(&folders[..1], &scratch.0.join("half"), false).unwrap_err().to_string();
    assert!(missing.contains("3 of 6 points are missing (1, 3, 5)"), "{missing}");
    assert_eq!(merge(&folders, &scratch.0.join("merged"), false).unwrap(), alone);
    assert!(merge(&folders, &scratch.0.join("merged"), false).unwrap_err().to_string().contains("--force"));
    // In one folder, complete when the last shard is.
    assert_eq!(run(&sweep, Some(&open("shared")), Shard { index: 0, of: 2 }, 1), None);
    assert_eq!(run(&sweep, Some(&open("shared")), Shard { index: 1, of: 2 }, 2).unwrap(), alone);
    let bytes = scratch.table("whole");
    assert!(bytes == scratch.table("merged") && bytes == scratch.table("shared"), "the tables differ");
}

#[test]
fn a_sweep_that_was_cut_off_goes_on_where_it_was() {
    let scratch = Scratch::new("resume");
    let sweep = scratch.prepared(&VARY[..1], None).unwrap();
    let folder = scratch.0.join("out");
    let store = Store::open(&folder, &sweep).unwrap();
    let first = run(&sweep, Some(&store), WHOLE, 1).unwrap();
    // One point is gone, one is cut short, and something unfinished lies about.
    let good = fs::read(folder.join("points/000000.parquet")).unwrap();
    fs::write(folder.join("points/000000.parquet"), &good[..good.len() / 2]).unwrap();
    fs::remove_file(folder.join("points/000001.parquet")).unwrap();
    fs::write(folder.join("points/.000001.parquet.7.part"), "half").unwrap();
    let ran = std::sync::Mutex::new(Vec::new());
    let again = sweep.run(Some(&store), WHOLE, &|progress| ran.lock().unwrap().push(progress.done)).unwrap().unwrap();
    assert_eq!((again, ran.into_inner().unwrap().len()), (first.clone(), 2));
    assert!(fs::read(folder.join("points/000000.parquet")).unwrap() == good);
    // Nothing is left to do.
    let idle = sweep.run(Some(&store), WHOLE, &|progress| panic!("{progress:?}")).unwrap();
    assert_eq!(idle, Some(first));
    // Another sweep is not mixed in.
    let other = scratch.prepared(&VARY[1..], None).unwrap();
    let refused = Store::open(&folder, &other).unwrap_err().to_string();
    assert!(refused.contains("holds another sweep") && refused.contains("`vary` is"), "{refused}");
}

#[test]
fn points_are_drawn_too_and_mistakes_are_found_before_anything_runs() {
    let scratch = Scratch::new("random");
    let drawn = scratch.prepared(&["endpoints.a.workers.max=1..5"], Some((7, 1))).unwrap();
    assert_eq!(drawn.manifest().points, 7);
    let error = |vary: &[&str]| scratch.prepared(vary, None).unwrap_err().to_string();
    let typo = error(&["endpoints.a.workers.mxa=1,2"]);
    assert!(typo.contains("point 0, policy as_written") && typo.contains("did you mean `max`?"), "{typo}");
    assert!(error(&["max_jobs=1,2", "max_jobs=3"]).contains("varied already"));
    assert!(error(&["max_jobs=1..9"]).contains("--random"));
    assert!(error(&["seed=1,2"]).contains("--seeds"));
    assert_eq!(spread("endpoints.*.x", &["a.b".to_owned()]), ["endpoints.\"a.b\".x"]);
}
