//! Whether a plan is distributed at all; where it is cut is [`crate::place`]'s part, what that costs [`crate::cost`]'s.

use crate::cost::constants::{
    FEW_ROWS, FEW_ROWS_SLACK_US, MOST_TRIED_US, SLACK_US, TASK, WANTED_STAGE, WORTH_MEASURING_US, WORTH_MOVING,
    WORTH_TRYING,
};
use crate::cost::{self, Capacity, Measured};
use crate::place::{Placer, Preference};
use crate::plan::{Distributed, Operator, Plan, PlanNode, Scan};
use crate::split::{ROW_GROUP_ROWS, WORTH_A_TASK};
use crate::stage::{Decision, Distribution};

/// Decides for a cluster of workers.
pub fn decide(plan: &Plan, capacity: impl Into<Capacity>) -> Decision {
    let capacity = capacity.into();
    match may_distribute(plan, capacity) {
        Err(reason) => Decision::Local { reason, estimate: None },
        Ok(()) if plan.distribution == Distributed::Always => always(plan, capacity),
        Ok(()) => cheapest(plan, capacity),
    }
}

fn always(plan: &Plan, capacity: Capacity) -> Decision {
    match best_of(plan, capacity) {
        Ok(mut distribution) => {
            distribution.estimate.despite = "duckherder_distribution is 'always'".to_string();
            Decision::Distributed(distribution)
        }
        Err(reason) => Decision::Local { reason, estimate: None },
    }
}

/// Here, as one task, or in stages: what takes least.
fn cheapest(plan: &Plan, capacity: Capacity) -> Decision {
    let workers = capacity.workers;
    let gathered = match placed(plan, Placer::new(plan, workers), capacity) {
        Ok(distribution) => distribution,
        Err(reason) => return Decision::Local { reason, estimate: None },
    };
    // Workers in the driver's process have nothing to win by moving rows among themselves.
    let shuffled = match workers.remote {
        0 => None,
        _ => best_of(plan, capacity).ok(),
    };
    let mut best = match shuffled {
        Some(shuffled) if shuffled.estimate.distributed_us < gathered.estimate.distributed_us => shuffled,
        _ => gathered,
    };
    if let Some(decision) = by_measurement(plan, &mut best, capacity) {
        return decision;
    }
    let (here, there) = (best.estimate.local_us, best.estimate.distributed_us);
    // Those that share the driver's threads have no others to offer, whatever the estimates say.
    if workers.remote > 0 && there as f64 <= here as f64 * WORTH_MOVING {
        return Decision::Distributed(best);
    }
    let slack = slack_us(plan, &best);
    if slack > 0 && there <= here.saturating_add(slack) {
        let most = cost::milliseconds(slack);
        best.estimate.despite = format!("a query of one table is the workers' unless that adds more than {most}");
        return Decision::Distributed(best);
    }
    let costs = best.estimate.costs();
    let reason = match there < here {
        true => format!("it would hardly take less on workers: {costs}"),
        false => format!("it takes less here: {costs}"),
    };
    Decision::Local { reason, estimate: Some(best.estimate) }
}

/// The way that has taken less before, or that was never taken and might take less; `None`: the estimates decide.
fn by_measurement(plan: &Plan, best: &mut Distribution, capacity: Capacity) -> Option<Decision> {
    let Measured { local_us, distributed_us, may_try } = plan.measured;
    // What is divided by its size stays divided.
    if capacity.workers.remote == 0 || fetches(plan) || slack_us(plan, best) == FEW_ROWS_SLACK_US {
        return None;
    }
    let estimate = &mut best.estimate;
    let (here, there) = (estimate.local_us, estimate.distributed_us);
    estimate.measured = plan.measured;
    let distributed = match (local_us, distributed_us) {
        (Some(here), Some(there)) => there <= here,
        (Some(taken), None) if may_try && worth_trying(taken, here, there) => {
            estimate.despite = "workers may take less than the driver has taken".to_string();
            true
        }
        (None, Some(taken)) if may_try && worth_trying(taken, there, here) => false,
        _ => {
            estimate.measured = Measured::default();
            return None;
        }
    };
    if distributed {
        return Some(Decision::Distributed(best.clone()));
    }
    let costs = estimate.costs();
    let reason = match local_us {
        None => format!("it may take less here than workers have taken: {costs}"),
        Some(_) => format!("it takes less here: {costs}"),
    };
    Some(Decision::Local { reason, estimate: Some(estimate.clone()) })
}

/// Whether a query that has `taken` so much one way, where `estimated` was so much, is to go the `other` way.
fn worth_trying(taken: u64, estimated: u64, other: u64) -> bool {
    let at_best = at_best(taken, estimated, other) as f64;
    (WORTH_MEASURING_US..MOST_TRIED_US).contains(&taken) && at_best <= taken as f64 * WORTH_TRYING
}

/// What the `other` way may take at best: its estimate may be right, or as wrong as that of the first way.
fn at_best(taken: u64, estimated: u64, other: u64) -> u64 {
    let as_wrong = other as f64 * taken as f64 / estimated.max(1) as f64;
    other.min(as_wrong as u64)
}

/// Whether workers have to be sent some of the tables.
fn fetches(plan: &Plan) -> bool {
    let fetched = |scan: &Scan| scan.files.is_none() && scan.cached < 1.0;
    !plan.stored && plan.root.preorder_scans().iter().any(|(_, scan)| fetched(scan))
}

/// What a query that stays on the driver would be if workers elsewhere had its tables in their caches.
#[derive(Clone, Debug)]
pub struct Prospect {
    pub distribution: Distribution,
    /// Microseconds less than on the driver, each time.
    pub gain_us: u64,
    /// Microseconds more, the first time, until they have the tables.
    pub fetch_us: u64,
}

/// Whether it would be the workers' then, and what that takes.
pub fn once_cached(plan: &Plan, capacity: impl Into<Capacity>) -> Option<Prospect> {
    let capacity = capacity.into();
    let missing = |scan: &Scan| !scan.table.is_empty() && scan.cached_whole < 1.0;
    let asked = plan.distribution == Distributed::Auto && !plan.stored && capacity.workers.remote > 0;
    if !asked || !plan.root.preorder_scans().iter().any(|(_, scan)| missing(scan)) {
        return None;
    }
    let mut cached = plan.clone();
    for scan in cached.root.preorder_scans_mut().into_iter().filter(|scan| missing(scan)) {
        (scan.cached, scan.cached_whole) = (1.0, 1.0);
    }
    let Decision::Distributed(distribution) = decide(&cached, capacity) else { return None };
    let then = &distribution.estimate;
    let local_us = plan.measured.local_us.unwrap_or(then.local_us);
    let distributed_us = plan.measured.distributed_us;
    let distributed_us = distributed_us.unwrap_or_else(|| at_best(local_us, then.local_us, then.distributed_us));
    let gain_us = local_us.saturating_sub(distributed_us);
    let now = cost::distributed(plan, &distribution, capacity);
    let fetch_us = now.distributed_us.saturating_sub(then.distributed_us);
    (gain_us > 0).then_some(Prospect { distribution, gain_us, fetch_us })
}

/// How much longer a query may take that workers get all the same: what one table gives, they are to give.
fn slack_us(plan: &Plan, distribution: &Distribution) -> u64 {
    // What gives another value each time stays on the driver: workers would only read for it.
    if plan.root.walk().iter().any(|node| node.volatile) {
        return 0;
    }
    // What the driver writes need not leave it.
    if matches!(plan.root.operator, Operator::Write(_))
        && distribution.stages.iter().all(|stage| stage.writes.is_none())
    {
        return 0;
    }
    // One task that reads files does what the driver does itself.
    let single = distribution.stages.iter().all(|stage| stage.tasks == 1);
    match plan.root.preorder_scans().as_slice() {
        [(_, scan)] if scan.files.is_some() && single => 0,
        [(_, scan)] if scan.rows <= FEW_ROWS => FEW_ROWS_SLACK_US,
        [_] => SLACK_US,
        _ => 0,
    }
}

/// The ways of its joins are chosen differently in each cut of a plan that is tried.
const PREFERENCES: [Preference; 6] = [
    Preference { weight: 1.0, ..Preference::NONE },
    Preference { weight: 3.0, ..Preference::NONE },
    Preference { weight: 10.0, ..Preference::NONE },
    Preference { weight: 1.0, groups_stay: true, ..Preference::NONE },
    Preference { weight: 3.0, groups_stay: true, ..Preference::NONE },
    Preference { weight: 1.0, driver_joins: true, ..Preference::NONE },
];

/// Of the ways to cut the plan with rows that move, the one that takes least.
fn best_of(plan: &Plan, capacity: Capacity) -> Result<Distribution, String> {
    // Where smaller tables are to be divided, what a stage adds is not to keep them from it.
    let spared = 1.0 - (plan.min_split_rows as f64 / ROW_GROUP_ROWS as f64).min(1.0);
    let takes = |found: &Distribution| {
        let added = found.stages.iter().map(|stage| WANTED_STAGE + stage.tasks as f64 * TASK).sum::<f64>();
        found.estimate.distributed_us as f64 - spared * added / 1e3
    };
    let cut = |preference| placed(plan, Placer::new(plan, capacity.workers).shuffling().with(preference), capacity);
    let [first, others @ ..] = PREFERENCES;
    others.into_iter().filter_map(|preference| cut(preference).ok()).fold(cut(first), |best, other| match best {
        Ok(best) if takes(&best) <= takes(&other) => Ok(best),
        _ => Ok(other),
    })
}

/// A distribution with its costs, or why there is none.
fn placed(plan: &Plan, placer: Placer, capacity: Capacity) -> Result<Distribution, String> {
    let mut distribution = placer.place_all();
    if distribution.stages.is_empty() {
        return Err(distribution.notes.into_iter().next().unwrap_or_else(nothing_to_move));
    }
    distribution.estimate = cost::distributed(plan, &distribution, capacity);
    Ok(distribution)
}

fn nothing_to_move() -> String {
    "no table is read".into()
}

fn may_distribute(plan: &Plan, capacity: Capacity) -> Result<(), String> {
    if plan.distribution == Distributed::Never {
        return Err("duckherder_distribution is 'never'".into());
    }
    if capacity.workers.count() == 0 {
        return Err("there is no worker".into());
    }
    if plan.has_written {
        return Err("the transaction has written, and only the driver's connection sees that".into());
    }
    if !plan.kept.is_empty() {
        return Err(plan.kept.clone());
    }
    let nodes = plan.root.walk();
    let always = plan.distribution == Distributed::Always;
    for node in &nodes {
        match &node.operator {
            // Whoever has no threads of others to gain keeps what is written here.
            Operator::Write(_) if always || node.write.is_some() || capacity.workers.remote > 0 => {}
            Operator::Write(name) | Operator::Other(name) => return Err(format!("{name} runs on the driver")),
            _ => {}
        }
    }
    match plan.distribution {
        Distributed::Auto => may_be_worth_it(&nodes),
        _ => Ok(()),
    }
}

/// What needs no estimate to be seen.
fn may_be_worth_it(nodes: &[&PlanNode]) -> Result<(), String> {
    let scans: Vec<&Scan> = nodes.iter().filter_map(|node| node.scan.as_ref()).collect();
    if scans.is_empty() {
        return Err(nothing_to_move());
    }
    let [scan] = scans.as_slice() else { return Ok(()) };
    readable(scan)?;
    if scan.files.is_none() && scan.rows < WORTH_A_TASK {
        return Err(format!("{} has fewer than {WORTH_A_TASK} rows", scan.name));
    }
    if scan.index_lookup {
        return Err(format!("an index of {} finds the rows", scan.name));
    }
    Ok(())
}

/// Whether workers can read what the scan reads, in splits.
pub fn readable(scan: &Scan) -> Result<(), String> {
    if !scan.kept.is_empty() {
        return Err(scan.kept.clone());
    }
    if !scan.shared_table && scan.files.is_none() {
        return Err(format!("{} is not a table that workers can read", scan.name));
    }
    if scan.sampled {
        return Err("it takes a sample".into());
    }
    if scan.virtual_columns {
        return Err("it reads row ids".into());
    }
    Ok(())
}
