//! What plans have taken, here and on workers: of two ways that were both measured, the estimates need not tell.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use duckherder_planner::cost::Measured;
use duckherder_planner::cost::constants::WORTH_MEASURING_US;
use duckherder_planner::plan::{Distributed, Operator};
use duckherder_planner::{Capacity, Decision, Distribution, Plan};

use crate::sync::lock;

/// Plans that are remembered at least, of those that ended last; twice as many at most.
const PLANS: usize = 4096;
/// Runs by which a way is known: the first one also makes its tasks' plans.
const RUNS: u32 = 2;
/// One run is enough where it has taken so many times what the other way takes.
const MUCH_LONGER: u64 = 2;
/// A plan that is not known after so many runs, as workers were sent its tables each time, is left to the estimates.
const MOST_RUNS: u32 = 12;
/// What was known is measured again after that.
const LASTS: Duration = Duration::from_secs(600);

/// What all sessions have seen.
#[derive(Default)]
pub struct Feedback {
    plans: Mutex<Plans>,
}

/// Two generations: whoever is looked for lives on in the younger one.
#[derive(Default)]
struct Plans {
    younger: HashMap<u64, Taken>,
    older: HashMap<u64, Taken>,
}

impl Plans {
    fn find(&self, plan: u64) -> Option<&Taken> {
        let taken = self.younger.get(&plan).or_else(|| self.older.get(&plan));
        taken.filter(|taken| taken.since.elapsed() < LASTS)
    }

    fn update(&mut self, plan: u64) -> &mut Taken {
        let taken = self.find(plan).copied().unwrap_or_else(Taken::nothing);
        if self.younger.len() >= PLANS && !self.younger.contains_key(&plan) {
            self.older = std::mem::take(&mut self.younger);
        }
        let place = self.younger.entry(plan).or_insert(taken);
        *place = taken;
        place
    }
}

/// What a plan has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    since: Instant,
    runs: u32,
    here: Way,
    there: Way,
}

/// One of the two ways.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    runs: u32,
    least_us: u64,
}

impl Way {
    fn ran(&mut self, us: u64) {
        self.least_us = if self.runs == 0 { us } else { self.least_us.min(us) };
        self.runs += 1;
    }

    fn known(&self, other: &Self) -> Option<u64> {
        let lost = self.runs > 0 && other.runs > 0 && self.least_us > other.least_us.saturating_mul(MUCH_LONGER);
        (self.runs >= RUNS || lost).then_some(self.least_us)
    }
}

impl Taken {
    fn nothing() -> Self {
        Self { since: Instant::now(), runs: 0, here: Way::default(), there: Way::default() }
    }

    fn measured(&self) -> Measured {
        Measured {
            local_us: self.here.known(&self.there),
            distributed_us: self.there.known(&self.here),
            may_try: self.runs < MOST_RUNS,
        }
    }
}

/// A statement's plan whose run is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    plan: u64,
    distributed: bool,
    begun: Instant,
    /// The plan may be decided about otherwise the next time.
    pub matters: bool,
}

/// With which workers a plan would run is a part of what it is.
fn key(plan: &Plan, capacity: Capacity) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (plan.fingerprint, plan.threads, capacity.workers.local, capacity.workers.remote).hash(&mut hasher);
    (capacity.remote_threads, plan.min_split_rows).hash(&mut hasher);
    plan.root.preorder_scans().iter().for_each(|(_, scan)| scan.table.hash(&mut hasher));
    hasher.finish()
}

impl Feedback {
    /// Tells the plan what is known of it.
    pub fn look(&self, plan: &mut Plan, capacity: Capacity) {
        let plans = lock(&self.plans);
        let known = plans.find(key(plan, capacity)).map(Taken::measured);
        plan.measured = known.unwrap_or(Measured { may_try: true, ..Measured::default() });
    }

    /// The plan is about to run: how to measure it, if there was another way, and what this one takes is not known.
    pub fn measure(&self, plan: &Plan, capacity: Capacity, decision: &Decision) -> Option<Measurement> {
        let estimate = match decision {
            Decision::Distributed(Distribution { estimate, .. }) => estimate,
            Decision::Local { estimate, .. } => estimate.as_ref()?,
        };
        let distributed = matches!(decision, Decision::Distributed(_));
        let writes = plan.root.walk().iter().any(|node| matches!(node.operator, Operator::Write(_)));
        let asked = plan.distribution == Distributed::Auto && capacity.workers.remote > 0 && !plan.explained;
        let known = if distributed { plan.measured.distributed_us } else { plan.measured.local_us };
        if !asked || writes || known.is_some() || !plan.measured.may_try {
            return None;
        }
        let key = key(plan, capacity);
        let taken = lock(&self.plans).find(key).map_or(0, |taken| taken.here.least_us.max(taken.there.least_us));
        let matters = estimate.local_us.max(estimate.distributed_us).max(taken) >= WORTH_MEASURING_US;
        Some(Measurement { plan: key, distributed, begun: Instant::now(), matters })
    }

    /// It has ended; `undisturbed`: workers were not sent tables.
    pub fn ended(&self, measurement: Measurement, undisturbed: bool) {
        let us = measurement.begun.elapsed().as_micros() as u64;
        let mut plans = lock(&self.plans);
        let taken = plans.update(measurement.plan);
        taken.runs += 1;
        if undisturbed {
            let way = if measurement.distributed { &mut taken.there } else { &mut taken.here };
            way.ran(us);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use duckherder_planner::{Workers, decide};

    const CAPACITY: Capacity = Capacity { workers: Workers { local: 0, remote: 2 }, remote_threads: 4 };

    /// A join of files, which takes a little more on workers, by its estimates.
    fn plan(fingerprint: u64) -> Plan {
        let scan = |id: u64, rows: u64| {
            let groups = vec!["122880"; rows.div_ceil(122_880) as usize].join(",");
            format!(
                r#"{{"id":{id},"operator":"GET","estimated_rows":{rows},"row_bytes":16,"operations":6,"scan":{{
                "name":"t{id}","rows":{rows},"row_bytes":16,"shared_table":false,"virtual_columns":false,
                "sampled":false,"index_lookup":false,
                "files":{{"paths":["f"],"row_groups":[[{groups}]],"bytes":[1]}}}}}}"#
            )
        };
        let text = format!(
            r#"{{"has_written":false,"threads":4,"fingerprint":{fingerprint},"root":{{"id":0,"operator":"AGGREGATE",
            "estimated_rows":1,"aggregate":{{"groups":0,"grouping_sets":false,"calls":[]}},"children":[{{"id":1,
            "operator":"COMPARISON_JOIN","join":{{"type":"INNER"}},"keys":[[{{}}],[{{}}]],"row_bytes":32,
            "estimated_rows":50000000,"operations":1,"children":[{},{}]}}]}}}}"#,
            scan(2, 50_000_000),
            scan(3, 1000)
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Decides about the plan and lets it take so much `here` or `there`: whether it was distributed, and measured.
    fn run(feedback: &Feedback, plan: &mut Plan, [here, there]: [u64; 2]) -> (bool, bool) {
        feedback.look(plan, CAPACITY);
        let decision = decide(plan, CAPACITY);
        let distributed = matches!(decision, Decision::Distributed(_));
        let measurement = feedback.measure(plan, CAPACITY, &decision);
        if let Some(mut measurement) = measurement {
            assert_eq!(measurement.distributed, distributed);
            measurement.begun -= Duration::from_millis(if distributed { there } else { here });
            feedback.ended(measurement, true);
        }
        (distributed, measurement.is_some())
    }

    #[test]
    fn both_ways_are_measured_and_the_better_one_stays() {
        for (takes, better) in [([100, 80], true), ([80, 100], false)] {
            let feedback = Feedback::default();
            let runs: Vec<_> = (0..6).map(|_| run(&feedback, &mut plan(1), takes)).collect();
            let tried = [(false, true), (false, true), (true, true), (true, true)];
            assert_eq!(runs[..4], tried);
            assert_eq!(runs[4..], [(better, false); 2]);
            // Another plan is another matter.
            assert_eq!(run(&feedback, &mut plan(2), takes), (false, true));
        }
    }

    #[test]
    fn a_trial_that_takes_much_longer_is_not_repeated() {
        let feedback = Feedback::default();
        let runs: Vec<_> = (0..4).map(|_| run(&feedback, &mut plan(1), [50, 500])).collect();
        assert_eq!(runs, [(false, true), (false, true), (true, true), (false, false)]);
    }

    #[test]
    fn who_learns_nothing_stops_trying() {
        let feedback = Feedback::default();
        for _ in 0..MOST_RUNS {
            let mut plan = plan(1);
            feedback.look(&mut plan, CAPACITY);
            let measurement = feedback.measure(&plan, CAPACITY, &decide(&plan, CAPACITY)).unwrap();
            feedback.ended(measurement, false);
        }
        assert_eq!(run(&feedback, &mut plan(1), [100, 80]), (false, false));
    }

    #[test]
    fn what_was_taken_for_short_and_is_not_is_measured() {
        let feedback = Feedback::default();
        let mut short = plan(1);
        for scan in &mut short.root.children[0].children {
            scan.estimated_rows = Some(1000);
            scan.scan.as_mut().unwrap().rows = 1000;
        }
        short.root.children[0].estimated_rows = Some(1000);
        let measure = || {
            let mut plan = short.clone();
            feedback.look(&mut plan, CAPACITY);
            feedback.measure(&plan, CAPACITY, &decide(&plan, CAPACITY)).unwrap()
        };
        let mut first = measure();
        assert!(!first.matters, "its plan may be kept");
        first.begun -= Duration::from_millis(500);
        feedback.ended(first, true);
        assert!(measure().matters);
    }

    #[test]
    fn what_nobody_may_choose_is_not_measured() {
        let feedback = Feedback::default();
        let measured = |plan: &Plan, capacity| {
            let mut plan = plan.clone();
            feedback.look(&mut plan, capacity);
            feedback.measure(&plan, capacity, &decide(&plan, capacity)).is_some()
        };
        let local = Capacity { workers: Workers { local: 4, remote: 0 }, remote_threads: 0 };
        assert!(measured(&plan(1), CAPACITY) && !measured(&plan(1), local));
        let mut forced = plan(1);
        forced.distribution = Distributed::Always;
        assert!(!measured(&forced, CAPACITY));
        let mut explained = plan(1);
        explained.explained = true;
        assert!(!measured(&explained, CAPACITY));
    }

    #[test]
    fn those_that_came_longest_ago_make_room() {
        let feedback = Feedback::default();
        let ended = |plan| {
            let measurement = Measurement { plan, distributed: false, begun: Instant::now(), matters: true };
            feedback.ended(measurement, true);
        };
        let last = 3 * PLANS as u64;
        (1..=last).for_each(|plan| {
            ended(0);
            ended(plan);
        });
        let plans = lock(&feedback.plans);
        assert!(plans.younger.len() + plans.older.len() <= 2 * PLANS);
        assert!(plans.find(last).is_some() && plans.find(0).is_some() && plans.find(1).is_none());
    }
}
