//! Where each operator of a plan runs, and with that where the plan is cut.
//!
//! ```text
//!   ORDER BY                         driver
//!   AGGREGATE    <- cut              partial states on the workers, combined on the driver
//!   JOIN         \                   a draft: each task has a split of the large table, and all of the small one
//!   SCAN   SCAN  /
//! ```
//!
//! From the scans up, an operator joins the draft of its child's stage as long as the rows of all tasks together are
//! the operator's rows. Where they would not be, the draft becomes a stage: its rows go to the driver, or are shuffled
//! to the tasks of the next draft.

use std::collections::HashMap;

use crate::cost::Estimate;
use crate::decide::readable;
use crate::early::{Asked, EarlyShuffle};
use crate::filter::{filter_by_keys, narrow_by_broadcast};
use crate::partition::Partitioning;
use crate::plan::{Distributed, Operator, Plan, PlanNode};
use crate::ranges::Divisible;
use crate::readers::misled;
use crate::shared::SharedInputs;
use crate::split::{Mode, Workers, strategy_of};
use crate::stage::{Cut, Distribution, Exchange, MergeStrategy, ScanUse, Stage};

/// Where the rows of an operator come to be.
pub enum Site {
    /// In the tasks of a stage that is not cut yet.
    Workers(Draft),
    /// Wherever they are needed: they are written in the query.
    Everywhere,
    Driver,
}

/// A stage that may still grow upwards.
#[derive(Clone)]
pub struct Draft {
    pub mode: Mode,
    pub tasks: u64,
    pub scans: Vec<ScanUse>,
    pub inputs: Vec<usize>,
    /// By what its rows are divided among the tasks, if that is by their values.
    pub partitioning: Option<Partitioning>,
    /// By ranges of what they may be divided, if they are not by their values.
    pub divisible: Vec<Divisible>,
}

impl Draft {
    /// One task has all rows: whatever operator comes next, it can run there.
    pub fn is_single(&self) -> bool {
        self.tasks == 1
    }

    /// One task that reads nothing but rows of other stages.
    pub fn is_one_of_moved_rows(&self) -> bool {
        self.is_single() && self.scans.is_empty()
    }

    /// What one stage reads in which both are. Of a CTE, which both may read, each task has its rows once.
    pub fn read_together(&mut self, scans: Vec<ScanUse>, inputs: Vec<usize>) {
        self.scans.extend(scans);
        let others: Vec<usize> = inputs.into_iter().filter(|input| !self.inputs.contains(input)).collect();
        self.inputs.extend(others);
    }

    /// After a join of its rows with others that are whole in every task.
    pub fn join_whole(&mut self, node: &PlanNode) {
        if let Some(partitioning) = &mut self.partitioning {
            partitioning.join_whole(node);
        }
        self.divisible.iter_mut().for_each(|one| one.join_whole(node));
    }

    /// Whether all that a task reads is its part of a table.
    fn only_scans_its_part(&self) -> bool {
        self.inputs.is_empty() && self.scans.iter().all(|scan| !scan.whole)
    }

    /// What one task reads beside its part.
    pub fn read_whole(&mut self, scans: impl IntoIterator<Item = usize>) {
        self.scans.extend(scans.into_iter().map(|scan| ScanUse { scan, whole: true, key: None }));
    }
}

/// What is preferred where a plan may be cut in several ways: a join alone does not show which is best for those above.
#[derive(Clone, Copy, Debug)]
pub struct Preference {
    /// How often a row that moves is counted where a join's ways are weighed. What a join would gain by moving rows, those
    /// above may lose: the rows come later to where they could be left out.
    pub weight: f64,
    /// Groups that a join reads stay in tasks.
    pub groups_stay: bool,
    /// A join whose rows the driver has on one side may be the driver's, although tasks could have one side whole.
    pub driver_joins: bool,
}

impl Preference {
    pub const NONE: Self = Self { weight: 1.0, groups_stay: false, driver_joins: false };
}

pub struct Placer<'a> {
    plan: &'a Plan,
    workers: Workers,
    /// By node: the number of its scan.
    numbers: HashMap<u64, usize>,
    /// Rows may move between workers.
    shuffles: bool,
    /// Those that are cut already, by their numbers.
    pub stages: Vec<Stage>,
    notes: Vec<String>,
    pub shared: SharedInputs,
    /// Ways to join that were tried in vain.
    pub failures: usize,
    pub prefers: Preference,
    /// What is being placed is read by a join, or a UNION ALL, with other rows.
    pub put_together: bool,
    /// Who reads what is being placed does not see in which order its rows come.
    pub in_any_order: bool,
    /// It is an aggregate that sees it.
    pub in_aggregated_order: bool,
    /// It is of groups whose order that aggregate sees.
    pub groups_show: bool,
    /// Where below the aggregate that is being placed rows are shuffled for its groups.
    pub early: Option<EarlyShuffle>,
    /// Aggregates whose rows are to be divided by some of their keys, since others need them so.
    pub asked: Vec<Asked>,
}

/// What was planned up to somewhere.
#[derive(Clone)]
pub struct Mark {
    stages: Vec<Stage>,
    notes: Vec<String>,
}

impl<'a> Placer<'a> {
    pub fn new(plan: &'a Plan, workers: Workers) -> Self {
        let scans = plan.root.preorder_scans();
        let numbers = scans.iter().enumerate().map(|(number, (node, _))| (*node, number)).collect();
        let shuffles = plan.distribution == Distributed::Always;
        Self {
            plan,
            workers,
            numbers,
            shuffles,
            stages: Vec::new(),
            notes: Vec::new(),
            shared: SharedInputs::default(),
            failures: 0,
            prefers: Preference::NONE,
            put_together: false,
            in_any_order: false,
            in_aggregated_order: false,
            groups_show: false,
            early: None,
            asked: Vec::new(),
        }
    }

    /// Rows may move between workers, whatever the session asks for.
    pub fn shuffling(self) -> Self {
        Self { shuffles: true, ..self }
    }

    pub fn with(mut self, preference: Preference) -> Self {
        self.prefers = preference;
        self.shared.keeps_groups = preference.groups_stay;
        self
    }

    /// Places the whole plan.
    pub fn place_all(mut self) -> Distribution {
        let root = &self.plan.root;
        if let Site::Workers(draft) = self.place(root) {
            self.gather(root, draft, Cut::Subtree, MergeStrategy::Concatenate);
        }
        filter_by_keys(self.plan, &mut self.stages);
        if self.workers.remote > 0 {
            narrow_by_broadcast(self.plan, &mut self.stages);
        }
        if let Some(note) = misled(root, &self.stages) {
            self.stages.clear();
            self.notes.insert(0, note);
        }
        Distribution { stages: self.stages, notes: self.notes, estimate: Estimate::default() }
    }

    pub fn place(&mut self, node: &PlanNode) -> Site {
        let own = self.in_any_order;
        let aggregated = self.in_aggregated_order;
        self.see_order(node);
        let site = match node.operator {
            // Of several tasks' rows, order is lost.
            Operator::CteScan if !own || self.stays(node) => self.read_on_driver(node),
            _ => self.place_operator(node),
        };
        self.in_any_order = own;
        self.in_aggregated_order = aggregated;
        match site {
            Site::Workers(draft) => {
                let divisible = draft.divisible_above(node);
                let partitioning = draft.partitioning.and_then(|partitioning| partitioning.above(node));
                Site::Workers(self.moved_early(node, Draft { partitioning, divisible, ..draft }))
            }
            site => site,
        }
    }

    fn place_operator(&mut self, node: &PlanNode) -> Site {
        if self.stays(node) {
            return self.on_driver(node);
        }
        match &node.operator {
            Operator::Scan => self.scan(node),
            _ if node.is_written_out() => Site::Everywhere,
            Operator::Filter | Operator::Projection | Operator::Unnest => self.above_child(node),
            Operator::Join => self.join(node),
            Operator::Aggregate => self.aggregate(node),
            Operator::Distinct if !node.distinct_on || node.ordered => self.distinct(node),
            Operator::TopN if has_constant_limit(node) => self.copied(node, MergeStrategy::TopN),
            Operator::Limit if has_constant_limit(node) => self.copied(node, MergeStrategy::Concatenate),
            Operator::Window => self.window(node),
            Operator::OrderBy => self.sort(node),
            Operator::Distinct | Operator::TopN | Operator::Limit => self.single_or_driver(node),
            Operator::Union if node.all => self.union_all(node),
            Operator::Union | Operator::SetOperation => self.set_operation(node),
            Operator::Cte => self.cte(node),
            Operator::CteScan => self.cte_scan(node),
            // What its second part reads, it reads several times.
            Operator::RecursiveCte => self.read_on_driver(node),
            Operator::Relational if node.repeatable => {
                self.note("its sample is the same each time only of rows that the driver reads".to_string());
                self.read_on_driver(node)
            }
            Operator::Write(_) => self.write(node),
            Operator::Constants | Operator::Collected | Operator::Relational | Operator::Other(_) => {
                self.on_driver(node)
            }
        }
    }

    /// Whether the operator can't leave the driver, whatever is below.
    pub fn stays(&self, node: &PlanNode) -> bool {
        node.volatile || self.plan.not_written.contains(&node.id)
    }

    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    pub fn always(&self) -> bool {
        self.plan.distribution == Distributed::Always
    }

    /// Whether rows may move between workers.
    pub fn may_shuffle(&self) -> bool {
        self.shuffles
    }

    pub fn min_split_rows(&self) -> u64 {
        self.plan.min_split_rows
    }

    pub fn workers(&self) -> Workers {
        self.workers
    }

    pub fn number_of(&self, scan: &PlanNode) -> Option<usize> {
        self.numbers.get(&scan.id).copied()
    }

    pub fn mark(&self) -> Mark {
        Mark { stages: self.stages.clone(), notes: self.notes.clone() }
    }

    /// As if nothing had been planned since.
    pub fn reset(&mut self, mark: Mark) {
        (self.stages, self.notes) = (mark.stages, mark.notes);
    }

    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether workers can read the scan.
    pub fn can_read(&self, node: &PlanNode) -> Result<(), String> {
        readable(node.scan.as_ref().ok_or("it is not a scan")?)
    }

    fn scan(&mut self, node: &PlanNode) -> Site {
        if let Err(reason) = self.can_read(node) {
            self.note(reason);
            // A function of a table's rows reads those.
            return self.on_driver(node);
        }
        let (Some(scan), Some(number)) = (&node.scan, self.number_of(node)) else { return Site::Driver };
        let (mode, tasks) = strategy_of(scan, self.plan.min_split_rows, self.workers);
        let scans = vec![ScanUse { scan: number, whole: false, key: None }];
        let divisible = self.divisible(number, &scan.ranges);
        Site::Workers(Draft { mode, tasks, scans, inputs: Vec::new(), partitioning: None, divisible })
    }

    /// The operator joins its child, wherever that is.
    fn above_child(&mut self, node: &PlanNode) -> Site {
        match node.children.as_slice() {
            [child] => self.place(child),
            _ => self.on_driver(node),
        }
    }

    /// Each task sorts its rows, the driver merges them.
    fn sort(&mut self, node: &PlanNode) -> Site {
        match node.children.as_slice() {
            // Where the driver has room for all rows, it sorts them faster than it merges them.
            [child] if self.always() => match self.place(child) {
                Site::Workers(draft) if draft.is_single() => Site::Workers(draft),
                Site::Workers(draft) => {
                    self.gather(node, draft, Cut::Sort, MergeStrategy::SortMerge);
                    Site::Driver
                }
                site => site,
            },
            _ => self.single_or_driver(node),
        }
    }

    /// The operator runs in a task that has all rows of its one child, or on the driver.
    fn single_or_driver(&mut self, node: &PlanNode) -> Site {
        let [child] = node.children.as_slice() else { return self.on_driver(node) };
        match self.place(child) {
            Site::Workers(draft) if draft.is_single() => Site::Workers(draft),
            Site::Workers(draft) => {
                self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate);
                Site::Driver
            }
            site => site,
        }
    }

    /// Tasks write the files that are asked for, if they have the rows; otherwise the driver does.
    fn write(&mut self, node: &PlanNode) -> Site {
        let (Some(write), [child]) = (&node.write, node.children.as_slice()) else { return self.on_driver(node) };
        if !write.kept.is_empty() {
            self.note(format!("the driver writes the files: {}", write.kept));
            return self.on_driver(node);
        }
        // Nor do DuckDB's threads keep an order where they share several files.
        self.in_any_order = true;
        if let Site::Workers(draft) = self.place(child) {
            self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate);
            if let Some(stage) = self.stages.last_mut() {
                stage.writes = Some(node.id);
                stage.order_shows = false;
            }
        }
        Site::Driver
    }

    /// The driver runs it over the rows of its children.
    pub fn on_driver(&mut self, node: &PlanNode) -> Site {
        node.children.iter().for_each(|child| self.placed_for_driver(child));
        Site::Driver
    }

    pub fn placed_for_driver(&mut self, node: &PlanNode) {
        if let Site::Workers(draft) = self.place(node) {
            self.gather(node, draft, Cut::Subtree, MergeStrategy::Concatenate);
        }
    }

    /// Each task runs a copy of it, the driver another over their rows.
    fn copied(&mut self, node: &PlanNode, merge: MergeStrategy) -> Site {
        let [child] = node.children.as_slice() else { return self.on_driver(node) };
        match self.place(child) {
            Site::Workers(draft) if draft.is_single() => Site::Workers(draft),
            Site::Workers(draft) => {
                self.gather(node, draft, Cut::Copy, merge);
                Site::Driver
            }
            site => site,
        }
    }

    /// Whether all rows of the operator come to be in tasks, which no join decides.
    pub fn comes_from_tasks(&self, node: &PlanNode) -> bool {
        let child_does = |node: &PlanNode| matches!(node.children.as_slice(), [child] if self.comes_from_tasks(child));
        match &node.operator {
            _ if self.stays(node) => false,
            Operator::Scan => self.can_read(node).is_ok(),
            Operator::CteScan => self.is_shared(node),
            Operator::Filter | Operator::Projection | Operator::Unnest => child_does(node),
            Operator::Aggregate => match (node.children.as_slice(), &node.aggregate) {
                ([child], Some(aggregate)) => {
                    let stays = aggregate.combined
                        || self.groups_are_shuffled(node, child, aggregate)
                        || self.ends_in_one_task(child, aggregate);
                    stays && child_does(node)
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn window(&mut self, node: &PlanNode) -> Site {
        let [child] = node.children.as_slice() else { return self.on_driver(node) };
        // A window that asks for fewer keys below this one serves it, too.
        let asked = self.asked_of_aggregates(node);
        let before = self.asked.len();
        self.asked.extend(asked);
        let site = self.place(child);
        self.asked.truncate(before);
        match site {
            Site::Workers(draft) if draft.is_single() => Site::Workers(draft),
            Site::Workers(draft) if self.meets(&draft, node, true) => Site::Workers(self.unspread(draft)),
            Site::Workers(draft) if has_keys(node) && self.may_shuffle() => {
                match self.meeting_by_ranges(&draft, node) {
                    Some(draft) => Site::Workers(draft),
                    None => self.shuffled(node, &[(child, draft)]),
                }
            }
            Site::Workers(draft) => {
                self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate);
                Site::Driver
            }
            site => site,
        }
    }

    /// Equal rows meet in one task.
    fn set_operation(&mut self, node: &PlanNode) -> Site {
        if !self.may_shuffle() || (self.workers.remote == 0 && !self.keeps_groups()) {
            return self.on_driver(node);
        }
        let sites: Vec<Site> = node.children.iter().map(|child| self.place(child)).collect();
        let all_on_workers = sites.iter().all(|site| matches!(site, Site::Workers(_)));
        let mut drafts = Vec::new();
        for (child, site) in node.children.iter().zip(sites) {
            match site {
                Site::Workers(draft) if all_on_workers => drafts.push((child, draft)),
                Site::Workers(draft) => self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate),
                Site::Everywhere | Site::Driver => {}
            }
        }
        if all_on_workers { self.equal_rows_meet(node, drafts) } else { Site::Driver }
    }

    /// The rows of the draft, cut at `node`, go to the driver.
    pub fn gather(&mut self, node: &PlanNode, draft: Draft, cut: Cut, merge: MergeStrategy) {
        let merge = if draft.is_single() { MergeStrategy::None } else { merge };
        self.stage(node, &draft, cut, Exchange::Gather, merge);
    }

    /// The rows of the draft, cut at `node`, go to every task of the stage that reads the result.
    pub fn broadcast(&mut self, node: &PlanNode, draft: Draft) -> usize {
        self.stage(node, &draft, Cut::Subtree, Exchange::Broadcast, MergeStrategy::Concatenate)
    }

    /// The rows of a stage go to the driver after all.
    pub fn gather_instead(&mut self, stage: usize) {
        let stage = &mut self.stages[stage];
        stage.exchange = Exchange::Gather;
        stage.merge = if stage.tasks == 1 { MergeStrategy::None } else { stage.merge };
    }

    pub fn stage(
        &mut self,
        node: &PlanNode,
        draft: &Draft,
        cut: Cut,
        exchange: Exchange,
        merge: MergeStrategy,
    ) -> usize {
        let in_order = exchange == Exchange::Gather && cut == Cut::Subtree && draft.only_scans_its_part();
        let (cuts, zones) = self.cuts_of(draft);
        self.stages.push(Stage {
            cut,
            node: node.id,
            exchange,
            mode: draft.mode,
            tasks: if in_order { draft.tasks } else { draft.tasks.min(self.workers.count()) },
            rows: node.estimated_rows,
            scans: draft.scans.clone(),
            cuts,
            zones,
            inputs: draft.inputs.clone(),
            join: None,
            divided_by: None,
            filter: None,
            told_keys: None,
            hash_keys: Vec::new(),
            hash_columns: Vec::new(),
            merge,
            writes: None,
            order_shows: exchange == Exchange::Gather && !self.in_any_order,
        });
        self.stages.len() - 1
    }
}

/// Whether rows must meet in it by keys.
pub fn has_keys(node: &PlanNode) -> bool {
    node.keys.first().is_some_and(|keys| !keys.is_empty())
}

fn has_constant_limit(node: &PlanNode) -> bool {
    node.limit.as_ref().is_some_and(|limit| limit.rows.is_some() && limit.offset.is_some())
}
