//! A run of the real simulator: the scheduler, the ledger and the metrics as they are in production, and the probe beside them.

use thermocline::ledger::{Bill, CostPhase, Ledger, Profile, Rounding};
use thermocline::metrics::{Activity, EndpointMetrics, Metrics, RELATIVE_ERROR};
use thermocline::scheduler::JobOutcome;
use thermocline::scheduler::follow::Follower;
use thermocline::scheduler::watch::Window;
use thermocline::sim::Simulation;

use super::plans::Setup;
use super::probe::{Gauge, Probe};

/// A run and what three observers saw of it.
pub struct Measured {
    pub probe: Probe,
    pub figures: EndpointMetrics,
    /// Under the documented profile (start, work and warm idle), without round-up.
    pub bill: Bill,
    /// The number of workers that utilization and availability refer to.
    pub workers: f64,
}

/// Runs the plan. Panics if the observers disagree: they count the same things in different ways.
pub fn simulate(setup: Setup) -> Measured {
    let Setup { plan, mut probe, workers } = setup;
    let window = Window { from: probe.from, until: probe.to };
    let ledger = Ledger::new(&plan.scheduler.gpu_classes, Rounding::Exact, window);
    let mut follower = Follower::new((ledger, Metrics::new(Vec::new(), window)));
    let mut simulation = Simulation::new(&plan).expect("the plans of theory are valid");
    let end = simulation.run(&mut (&mut probe, &mut follower), &mut |_| {}).expect("a run comes to its end");
    probe.close(end.now);
    let (ledger, metrics) = follower.finish(end.now);
    let measured =
        Measured { probe, figures: metrics.total(), bill: ledger.total().total(Profile::Documented), workers };
    if !measured.probe.last_come_first {
        measured.assert_agreement();
    }
    measured
}

impl Measured {
    /// Billed seconds within the window.
    pub fn billed_s(&self) -> f64 {
        self.bill.billed_micros() as f64 / 1e6
    }

    /// Ledger and metrics say what the probe says: exactly, but for the quantiles.
    fn assert_agreement(&self) {
        let Measured { probe, figures, bill, .. } = self;
        let jobs = &figures.jobs;
        assert_eq!((jobs.submitted, jobs.rejected), (probe.arrivals, probe.rejected), "jobs in");
        assert_eq!(jobs.of(JobOutcome::Completed), probe.completed, "jobs out");
        assert_eq!(figures.workers.starts, probe.starts, "starts");
        let integral = |activity: Activity| u128::from(figures.activities[activity as usize].integral(figures.end));
        let seen = |gauge: Gauge| probe.integrals[gauge as usize];
        assert_eq!(integral(Activity::Busy), seen(Gauge::Busy), "busy time");
        assert_eq!(integral(Activity::Idle), seen(Gauge::Idle), "idle time");
        assert_eq!(integral(Activity::Starting), seen(Gauge::Starting), "starting time");
        assert_eq!(u128::from(figures.queue.integral(figures.end)), seen(Gauge::Queued), "time in queue");
        assert_eq!(u128::from(figures.in_system.integral(figures.end)), seen(Gauge::Jobs), "time in the system");
        let billed = |phase: CostPhase| bill.micros[phase.index()];
        assert_eq!(billed(CostPhase::Work), seen(Gauge::Busy), "billed work");
        assert_eq!(billed(CostPhase::WarmIdle), seen(Gauge::Idle), "billed idle time");
        assert_eq!(billed(CostPhase::Start), seen(Gauge::Starting), "billed starts");
        if probe.abandoned == 0 && probe.completed > 0 {
            self.assert_agreement_on_waits();
        }
    }

    fn assert_agreement_on_waits(&self) {
        let waits = &self.figures.lengths.wait;
        assert_eq!(waits.count(), self.probe.completed, "jobs that started");
        assert_eq!(waits.sum(), self.probe.queue_time, "sum of waits");
        assert_eq!(waits.count() - waits.zeros(), self.probe.had_to_wait, "jobs that waited");
        for q in [0.5, 0.95, 0.99] {
            let exact = self.probe.wait_quantile(q).0 as f64;
            let given = waits.quantile(q).expect("there are waits").0 as f64;
            assert!((given - exact).abs() <= RELATIVE_ERROR * exact, "the {q} quantile of waits: {given}, not {exact}");
        }
    }
}
