//! What the planner gives: stages, and how the rows between them move.

use std::collections::BTreeMap;

use crate::cost::Estimate;
use crate::plan::{Column, JoinKind, PlanNode};
use crate::split::Mode;
use crate::zones::Zones;

/// What becomes of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The driver's DuckDB runs it as it is.
    Local {
        reason: String,
        /// Of what it would be on workers, if they could run it.
        estimate: Option<Estimate>,
    },
    Distributed(Distribution),
}

/// A plan cut into stages that tasks run; what is left of it, the driver runs over their rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Those first whose rows others read; a stage's place here is its number.
    pub stages: Vec<Stage>,
    /// Why more was not moved to the workers, if something was left on the driver.
    pub notes: Vec<String>,
    /// What it is expected to take.
    pub estimate: Estimate,
}

/// One part of the plan, as often as it has tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub cut: Cut,
    /// The operator at which the plan is cut.
    pub node: u64,
    /// Where the rows of the tasks go.
    pub exchange: Exchange,
    /// How the tasks divide the work.
    pub mode: Mode,
    /// Tasks to make; fewer if the table turns out to have fewer row groups.
    pub tasks: u64,
    /// What all tasks together are estimated to give, before the cut divides anything.
    pub rows: Option<u64>,
    pub scans: Vec<ScanUse>,
    /// Where scans are read by ranges of a column: with which values, as numbers, each task but the first begins. By the
    /// number of the first scan of those that are cut at the same.
    pub cuts: BTreeMap<usize, Vec<i64>>,
    /// What was cut there: where all of these scans together have which values.
    pub zones: BTreeMap<usize, Zones>,
    /// The stages whose rows are shuffled or broadcast to this one's tasks, by number.
    pub inputs: Vec<usize>,
    /// What its rows are shuffled for, if that is a join that may have those of a heavy key in several tasks.
    pub join: Option<JoinKind>,
    /// Its rows go where the other side of a join is divided already: by this stage, too, which has all keys of
    /// that side.
    pub divided_by: Option<usize>,
    /// Rows that can meet none of another stage's are not sent.
    pub filter: Option<RuntimeFilter>,
    /// Its rows are broadcast for this side of this join: of whose keys others want to know the least and the greatest.
    pub told_keys: Option<(u64, u64)>,
    /// The numbers of the consumer's keys that are hashed, in this order; all, if there are none.
    pub hash_keys: Vec<u64>,
    /// What has the values of these keys among the stage's own columns, if it is not the consumer's child.
    pub hash_columns: Vec<Column>,
    pub merge: MergeStrategy,
    /// Each task writes its rows to a file: the COPY TO, above its operator, that asks for it. What goes to the driver is
    /// how many rows each has written, and where.
    pub writes: Option<u64>,
    /// The rows go to the driver, and something there shows in which order they come (`list`, `first`).
    pub order_shows: bool,
}

/// What the keys of another stage's rows, which go to the same join, leave of a stage's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFilter {
    /// Whose keys; its tasks collect them.
    pub stage: usize,
    /// The size of a Bloom filter of those; 0: there is none, that stage's rows are broadcast.
    pub bits: u64,
    /// Scans that need no rows beyond the least and the greatest key.
    pub ranges: Vec<KeyOfScan>,
}

/// A key that is a column of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOfScan {
    /// Its place among those that are hashed.
    pub key: usize,
    /// The number of the scan, in preorder among all scans of the plan.
    pub scan: usize,
    /// Its number in the table, or among the files' columns.
    pub column: u64,
}

/// How the operator at the cut is divided between the tasks and whoever reads their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Tasks run it and all below.
    Subtree,
    /// Tasks run a copy (a limit without its offset); the driver, or the tasks that distinct rows are shuffled to, run it
    /// again over their rows.
    Copy,
    /// Tasks export the states of its aggregates; the driver, or the tasks that the groups are shuffled to, combine and
    /// finalize them.
    PartialAggregate,
    /// Tasks sort their rows, the driver merges them by the key that comes with each.
    Sort,
    /// Tasks run it and all below, and give rows that are equal once: about so many different ones are expected in all.
    Distinct { rows: u64 },
}

/// How the rows of a stage move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// To the driver, the tasks' rows in the order of the tasks.
    Gather,
    /// To the task of another stage that has the bucket of the row's keys: those that the operator `consumer` needs of
    /// its child `side`.
    Hash { consumer: u64, side: u64 },
    /// To every task of another stage, which needs all rows in each.
    Broadcast,
    /// To the same task of each stage that reads the CTE, whose operator is `cte`.
    Forward { cte: u64 },
}

/// What the tasks of a stage read of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanUse {
    /// The number of the scan, in preorder among all scans of the plan.
    pub scan: usize,
    /// Each task reads all of it; otherwise each its split.
    pub whole: bool,
    /// The splits are ranges of a column.
    pub key: Option<ScanKey>,
}

/// By ranges of which column a scan is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanKey {
    /// Its number in the table, or among the files' columns.
    pub column: u64,
    /// Which of the stage's [`cuts`](Stage::cuts).
    pub cuts: usize,
}

/// How the rows of the tasks become the rows of the operator at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStrategy {
    /// One task: nothing to merge.
    None,
    Concatenate,
    Aggregate,
    GroupBy,
    Distinct,
    TopN,
    SortMerge,
}

impl MergeStrategy {
    /// As the statistics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Concatenate => "CONCATENATE",
            Self::Aggregate => "AGGREGATE",
            Self::GroupBy => "GROUP_BY",
            Self::Distinct => "DISTINCT",
            Self::TopN => "TOP_N",
            Self::SortMerge => "SORT_MERGE",
        }
    }
}

impl Stage {
    /// What the driver does with the rows of its tasks.
    pub fn on_driver(&self) -> String {
        match (self.merge, self.cut) {
            _ if self.writes.is_some() => "gives the files of the tasks their names".to_string(),
            (MergeStrategy::None, _) => "passes the rows on".to_string(),
            (merge, Cut::PartialAggregate) => format!("combines and finalizes the states ({})", merge.name()),
            (merge, _) => format!("merges the rows ({})", merge.name()),
        }
    }
}

/// The numbers of the stages that are cut at the operator, those below first.
pub fn cuts_at<'a>(stages: &'a [Stage], node: &'a PlanNode) -> impl DoubleEndedIterator<Item = usize> + 'a {
    stages.iter().enumerate().filter(|(_, stage)| stage.node == node.id).map(|(number, _)| number)
}

impl Distribution {
    /// The stages whose rows come to the driver, in order.
    pub fn gathered(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|stage| stage.exchange == Exchange::Gather)
    }

    /// The stage that says most about how the query is run: of those that the driver reads, the one with the most
    /// tasks, the last of them.
    pub fn main_stage(&self) -> Option<&Stage> {
        self.gathered().max_by_key(|stage| stage.tasks)
    }
}
