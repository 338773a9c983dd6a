//! Rows that are shuffled for groups before joins make them wide.
//!
//! ```text
//!   AGGREGATE BY name, id, day                     AGGREGATE BY name, id, day
//!    --- hash of name, id, day ---                 JOIN ON item = id
//!   JOIN ON item = id                       ->     |   SCAN items, whole in each task
//!   |   SCAN items, whole in each task              --- hash of item, day ---
//!   SCAN sales                                     SCAN sales
//! ```
//!
//! Rows that are equal in all keys are equal in some of them, and after `item = id` one is as good as the other. What every
//! task has whole can be joined on either side of a shuffle. So, too, a window by some of the keys needs no shuffle of its own if
//! these decide for the groups.

use crate::cost::work::width;
use crate::cost::{likely_rows, moved};
use crate::partition::Partitioning;
use crate::place::{Draft, Placer};
use crate::plan::{Aggregate, Column, JoinKind, Operator, PlanNode};
use crate::split::Mode;
use crate::stage::{Cut, Exchange, MergeStrategy};

/// The keys that decide must have so many values for each task that it does not matter which task gets which.
const VALUES_A_TASK: u64 = 1_000;
/// It is worth it if at most this part of what the shuffle takes is left: how wide texts are nobody knows.
const WORTH_MOVING_EARLY: f64 = 0.75;

/// Where rows are shuffled for an operator further up.
#[derive(Clone, Debug)]
pub struct EarlyShuffle {
    /// The operator whose rows move.
    node: u64,
    /// Whose keys decide, and which of them.
    consumer: u64,
    keys: Vec<u64>,
    /// What has their values, among the columns of `node`.
    columns: Vec<Column>,
}

/// Of an aggregate, some of whose keys decide where its rows go: the numbers of these.
#[derive(Clone, Debug)]
pub struct Asked {
    aggregate: u64,
    keys: Vec<u64>,
}

/// A key, by its number, and the column that has its value so far down.
type Found = (u64, Column);

impl Placer<'_> {
    /// The operator below an aggregate whose rows are best shuffled for its groups, if that is not the one right below.
    pub fn early_shuffle(&self, node: &PlanNode, aggregate: &Aggregate) -> Option<EarlyShuffle> {
        let [child] = node.children.as_slice() else { return None };
        if self.workers().remote == 0 || self.workers().count() < 2 {
            return None;
        }
        let keys = node.keys.first()?;
        let asked = self.asked_of(node);
        let numbers = asked.map_or_else(|| (0..keys.len() as u64).collect(), <[u64]>::to_vec);
        let column = |number: u64| Some((number, keys.get(number as usize)?.column.clone()?));
        let mut found: Vec<Found> = numbers.into_iter().filter_map(column).collect();
        let takes = |at: &PlanNode| moved(likely_rows(at), width(at), 1.0, true);
        let mut least = takes(child) * WORTH_MOVING_EARLY;
        let mut best = None;
        let mut at = child;
        while let Some((below, columns)) = self.beneath(at, found) {
            (at, found) = (below, columns);
            let all_asked = asked.is_none_or(|asked| asked.len() == found.len());
            if !all_asked || self.values_of(&found, aggregate) < VALUES_A_TASK * self.workers().count() {
                break;
            }
            if takes(at) < least && only_joins(at) {
                least = takes(at);
                best = Some((at.id, found.clone()));
            }
        }
        let (below, found) = best?;
        let (keys, columns) = found.into_iter().unzip();
        Some(EarlyShuffle { node: below, consumer: node.id, keys, columns })
    }

    /// What the operator's rows come from one by one, with the columns there that have the same values.
    fn beneath<'b>(&self, at: &'b PlanNode, found: Vec<Found>) -> Option<(&'b PlanNode, Vec<Found>)> {
        match (&at.operator, at.children.as_slice()) {
            (Operator::Filter, [child]) => Some((child, found)),
            (Operator::Projection, [child]) => {
                let was = |column: &Column| {
                    let same = at.renames.iter().find(|rename| rename.now == *column && !rename.cast);
                    same.map(|rename| rename.was.clone())
                };
                Some((child, found.into_iter().filter_map(|(key, column)| Some((key, was(&column)?))).collect()))
            }
            (Operator::Join, [left, right]) if at.join.as_ref()?.kind == JoinKind::Inner => {
                let whole = self.reads_whole(at, [left, right])?;
                let divided = if whole == 0 { right } else { left };
                let (own, others) = (at.keys.get(1 - whole)?, at.keys.get(whole)?);
                let same = |column: Column| {
                    let partner = others.iter().position(|key| key.column.as_ref() == Some(&column));
                    match partner.and_then(|number| own.get(number)) {
                        Some(key) => key.column.clone(),
                        None => has_column(divided, &column).then_some(column),
                    }
                };
                Some((divided, found.into_iter().filter_map(|(key, column)| Some((key, same(column)?))).collect()))
            }
            _ => None,
        }
    }

    /// The aggregates below a window, and those of their keys that the window has, if all of the window's keys are such and
    /// have enough values: shuffled by these, its rows are where the window needs them.
    pub fn asked_of_aggregates(&self, window: &PlanNode) -> Vec<Asked> {
        let columns = window.keys.first().map_or(&[][..], Vec::as_slice).iter().map(|key| key.column.clone());
        match (columns.collect::<Option<Vec<_>>>(), window.children.as_slice()) {
            (Some(columns), [child]) => self.asked_below(child, columns).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// The aggregates whose groups the rows of `at` are, and those of their keys that these columns are.
    pub fn asked_below(&self, at: &PlanNode, columns: Vec<Column>) -> Option<Vec<Asked>> {
        let was = |column: &Column| {
            let same = at.renames.iter().find(|rename| rename.now == *column && !rename.cast);
            same.map(|rename| rename.was.clone())
        };
        let below = |columns: &[Column]| columns.iter().map(was).collect::<Option<Vec<_>>>();
        match (&at.operator, at.children.as_slice()) {
            (Operator::Aggregate, _) => {
                let (keys, aggregate) = (at.keys.first()?, at.aggregate.as_ref()?);
                let number = |column: &Column| keys.iter().position(|key| key.column.as_ref() == Some(column));
                let numbers: Option<Vec<usize>> = below(&columns)?.iter().map(number).collect();
                let numbers = numbers?.into_iter().map(|number| number as u64);
                let found: Vec<Found> = numbers.zip(columns).collect();
                let enough = self.values_of(&found, aggregate) >= VALUES_A_TASK * self.workers().count();
                let keys = found.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
                (enough && !keys.is_empty()).then(|| vec![Asked { aggregate: at.id, keys }])
            }
            (Operator::Projection, [child]) => self.asked_below(child, below(&columns)?),
            (Operator::Filter | Operator::Window, [child]) => self.asked_below(child, columns),
            (Operator::Union, children) if at.all => {
                let of_first = below(&columns)?;
                let number =
                    |column: &Column| at.keys.first()?.iter().position(|key| key.column.as_ref() == Some(column));
                let numbers: Vec<usize> = of_first.iter().map(number).collect::<Option<_>>()?;
                let mut all = Vec::new();
                for (child, keys) in children.iter().zip(&at.keys) {
                    let own = numbers.iter().map(|number| keys.get(*number)?.column.clone());
                    all.extend(self.asked_below(child, own.collect::<Option<_>>()?)?);
                }
                Some(all)
            }
            _ => None,
        }
    }

    /// By which of its keys alone the aggregate is asked to divide its rows: by the operator nearest to it, if several ask.
    pub fn asked_of(&self, aggregate: &PlanNode) -> Option<&[u64]> {
        self.asked.iter().rfind(|asked| asked.aggregate == aggregate.id).map(|asked| asked.keys.as_slice())
    }

    /// The numbers of the keys that decide where an aggregate's rows go: what is asked for; else all, or, since a
    /// text takes long to hash, those that are none, and the one text of the most values, if these are enough by
    /// themselves.
    pub fn hashed_keys(&self, node: &PlanNode, aggregate: &Aggregate) -> Vec<u64> {
        if let Some(asked) = self.asked_of(node) {
            return asked.to_vec();
        }
        let is_text = |number: &usize| aggregate.text_keys.contains(number);
        let numbers = 0..aggregate.key_values.len();
        let values = |number: &usize| aggregate.key_values.get(*number).copied().flatten().unwrap_or(0);
        let most = numbers.clone().max_by_key(|number| (values(number), !is_text(number)));
        let enough = VALUES_A_TASK * self.workers().count();
        let Some(most) = most.filter(|most| values(most) >= enough && aggregate.text_keys.len() > 1) else {
            return Vec::new();
        };
        let decides = |number: &usize| *number == most || !is_text(number);
        numbers.filter(decides).map(|number| number as u64).collect()
    }

    /// How many values these keys may have together.
    fn values_of(&self, found: &[Found], aggregate: &Aggregate) -> u64 {
        let values = |key: u64| aggregate.key_values.get(key as usize).copied().flatten().unwrap_or(1);
        found.iter().map(|(key, _)| values(*key)).fold(1, u64::saturating_mul)
    }

    /// The rows of the operator, if they are to be shuffled here, in the tasks of the stage that is to come.
    pub fn moved_early(&mut self, node: &PlanNode, draft: Draft) -> Draft {
        let Some(early) = self.early.as_ref().filter(|early| early.node == node.id && !draft.is_single()) else {
            return draft;
        };
        let early = early.clone();
        let exchange = Exchange::Hash { consumer: early.consumer, side: 0 };
        let number = self.stage(node, &draft, Cut::Subtree, exchange, MergeStrategy::Concatenate);
        let partitioning = Some(Partitioning::by_columns(&early.columns));
        self.stages[number].hash_keys = early.keys;
        self.stages[number].hash_columns = early.columns;
        let (mode, tasks, inputs) = (Mode::HashPartition, self.workers().count(), vec![number]);
        Draft { mode, tasks, scans: Vec::new(), inputs, partitioning, divisible: Vec::new() }
    }
}

/// Whether a column of that name is known to be the operator's, and not of what it is joined with.
fn has_column(node: &PlanNode, column: &Column) -> bool {
    let makes = |node: &&PlanNode| {
        let renamed = node.renames.iter().any(|rename| rename.now == *column);
        renamed || node.scan.iter().flat_map(|scan| &scan.ranges).any(|range| range.column == *column)
    };
    node.walk().iter().any(makes)
}

/// Whether all of its columns are called there what they are called where the plan is cut: states that are combined are not.
fn only_joins(node: &PlanNode) -> bool {
    use Operator::{Filter, Join, Projection, Scan};
    node.walk().iter().all(|below| matches!(below.operator, Scan | Filter | Projection | Join))
}
