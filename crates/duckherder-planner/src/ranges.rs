//! Operators over tables that are stored by a key: each task reads a range of its values of all of them, and no row
//! moves.
//!
//! ```text
//!   task 0   JOIN ON o.key = l.key      task 1   JOIN ON o.key = l.key
//!            orders    key < 61                  orders    key >= 61
//!            lineitem  key < 61                  lineitem  key >= 61
//! ```
//!
//! A draft whose tasks divide one table, as it is, by row ids may divide it by any of its columns just as well: it has
//! [`Divisible`] ones. The first operator that brings rows together by one of them has it divided so.

use std::collections::BTreeMap;

use crate::cost::JoinCosts;
use crate::partition::{Key, Partitioning};
use crate::place::{Draft, Placer, Site};
use crate::plan::{Column, JoinKind, Operator, PlanNode, RangeColumn, Rename, ShuffleKey};
use crate::split::{Mode, ROW_GROUP_ROWS};
use crate::stage::{ScanKey, ScanUse};
use crate::zones::{Zone, Zones, cuts, reading};

/// A column of the scan that a draft divides, of which nothing is NULL.
#[derive(Clone, Debug)]
pub struct Divisible {
    /// The number of the scan.
    scan: usize,
    /// Its number in the table, or among the files' columns.
    column: u64,
    /// The names that its value has.
    key: Key,
}

impl Divisible {
    pub fn of(scan: usize, column: &RangeColumn) -> Self {
        Self { scan, column: column.number, key: Key::named(&column.column) }
    }

    /// After a join of the draft's rows with others that are whole in every task.
    pub fn join_whole(&mut self, node: &PlanNode) {
        let ([Some(left), Some(right)], Some(join)) = ([node.keys.first(), node.keys.get(1)], &node.join) else {
            return;
        };
        if join.kind == JoinKind::Inner {
            left.iter().zip(right).for_each(|(left, right)| self.key.join(left, right));
        }
    }

    fn renamed(&self, renames: &[Rename]) -> Option<Self> {
        let key = self.key.renamed(renames);
        (!key.is_unnamed()).then(|| Self { key, ..self.clone() })
    }
}

impl Draft {
    /// As the operator names them, whose child has these rows; none where rows have come together in it.
    pub fn divisible_above(&self, node: &PlanNode) -> Vec<Divisible> {
        match node.operator {
            Operator::Scan | Operator::Filter | Operator::Join => self.divisible.clone(),
            Operator::Projection => self.divisible.iter().filter_map(|one| one.renamed(&node.renames)).collect(),
            _ => Vec::new(),
        }
    }

    /// Where its rows may be, or are, divided by ranges of `key`.
    fn by_ranges_of(&self, key: &ShuffleKey) -> Option<RangesOf> {
        // A CTE's rows are divided as they were where it was made.
        let reads = self.scans.iter().any(|read| read.key.is_some());
        match &self.partitioning {
            Some(partitioning) if reads && partitioning.is_by_ranges_of(key) => Some(RangesOf::Already),
            Some(_) => None,
            None => self.divisible.iter().find(|one| one.key.has(key)).cloned().map(RangesOf::Scan),
        }
    }
}

enum RangesOf {
    Already,
    Scan(Divisible),
}

impl Placer<'_> {
    /// What can be read by ranges of the scan's columns.
    pub fn divisible(&self, scan: usize, columns: &[RangeColumn]) -> Vec<Divisible> {
        let told = columns.iter().filter(|column| !column.zones.is_empty());
        told.map(|column| Divisible::of(scan, column)).collect()
    }

    /// The key, by its number, by ranges of which both sides of a join are best read, and what that adds, in nanoseconds
    /// of a core. That they can be, placing them will show.
    pub fn best_ranges(&self, node: &PlanNode, sides: [&PlanNode; 2]) -> Option<(usize, f64)> {
        if self.workers().count() < 2 {
            return None;
        }
        let keys = node.keys.first().map_or(0, Vec::len);
        let adds = |number: usize| {
            let found = |side: usize| self.zones_below(sides[side], node.keys.get(side)?.get(number)?);
            let added = self.ranges_add(&[found(0)?, found(1)?])?;
            Some((number, added))
        };
        (0..keys).filter_map(adds).min_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// The scan below whose column the key is, and where that has which values.
    fn zones_below<'b>(&self, node: &'b PlanNode, key: &ShuffleKey) -> Option<(&'b PlanNode, &'b [Zone])> {
        let (scan, column) = column_of_scan(node, key.value()?)?;
        (!column.zones.is_empty()).then_some((scan, column.zones.as_slice()))
    }

    /// What it adds to read these scans by ranges of one key; `None` if it is no good way.
    fn ranges_add(&self, scans: &[(&PlanNode, &[Zone])]) -> Option<f64> {
        let tasks = self.workers().count();
        let zones: Vec<&[Zone]> = scans.iter().map(|(_, zones)| *zones).collect();
        let cuts = cuts(&zones, tasks);
        let all: Vec<Zone> = zones.iter().flat_map(|zones| zones.iter().copied()).collect();
        let uneven = reading(&all, &cuts).largest * tasks as f64;
        if uneven > MOST_UNEVEN {
            return None;
        }
        // Where smaller tables are divided, too, rows are so much work that to read them is none.
        let small_ones = self.min_split_rows() < ROW_GROUP_ROWS / 2;
        let most_times = if small_ones { tasks as f64 } else { MOST_TIMES.min((tasks as f64 + 1.0) / 2.0) };
        let mut added = 0.0;
        for (scan, zones) in scans {
            let times = reading(zones, &cuts).times;
            if times > most_times {
                return None;
            }
            let costs = JoinCosts::new(self.plan(), scan, self.workers(), tasks, 1.0);
            added += costs.all_of(scan) * (times - 1.0 + uneven - 1.0);
        }
        Some(added)
    }

    /// A join whose sides can be read by ranges of the key `number` is where they are read; otherwise, the drafts back.
    pub fn join_by_ranges(&self, node: &PlanNode, number: usize, [left, right]: [Draft; 2]) -> Option<Draft> {
        let key = |side: usize| node.keys.get(side)?.get(number);
        let (left_key, right_key) = (key(0)?, key(1)?);
        // Two readers of one stage are not the same stage.
        let apart = left.inputs.iter().all(|input| !right.inputs.contains(input));
        let has_nulls = |draft: &Draft| draft.partitioning.as_ref().is_some_and(Partitioning::has_nulls_anywhere);
        let meet = left_key.null_meets_none || !(has_nulls(&left) && has_nulls(&right));
        if !apart || !meet {
            return None;
        }
        let tasks = left.tasks.max(right.tasks).min(self.workers().count());
        let (left, right) = (divided_by(left, left_key)?, divided_by(right, right_key)?);
        let mut partitioning = left.partitioning?;
        let nulls_right = right.partitioning.as_ref().is_some_and(Partitioning::has_nulls_anywhere);
        partitioning.join(node, &[number], [&[], &[]]);
        if nulls_right {
            partitioning.let_nulls_anywhere();
        }
        let mut scans: Vec<ScanUse> = left.scans.into_iter().chain(right.scans).collect();
        let same = scans.iter().filter_map(|read| Some(read.key?.cuts)).min()?;
        scans.iter_mut().filter_map(|read| read.key.as_mut()).for_each(|key| key.cuts = same);
        Some(Draft {
            mode: Mode::KeyRangePartition,
            tasks,
            scans,
            inputs: left.inputs.into_iter().chain(right.inputs).collect(),
            partitioning: Some(partitioning),
            divisible: Vec::new(),
        })
    }

    /// The draft with its one table read by ranges of one of the node's keys, if it can be, and that is worth it: rows that
    /// must meet then do.
    pub fn meeting_by_ranges(&self, draft: &Draft, node: &PlanNode) -> Option<Draft> {
        let (Some(keys), [child]) = (node.keys.first(), node.children.as_slice()) else { return None };
        if draft.is_single() || draft.partitioning.is_some() || self.workers().count() < 2 {
            return None;
        }
        let asked = self.asked_of(node);
        let mut keys = keys.iter().zip(0..).filter(|(_, number)| asked.is_none_or(|asked| asked.contains(number)));
        let good = |(key, _): &(&ShuffleKey, u64)| {
            let added = self.zones_below(child, key).and_then(|found| self.ranges_add(&[found]));
            draft.divisible.iter().any(|one| one.key.has(key)) && added.is_some()
        };
        let divided = divided_by(draft.clone(), keys.find(good)?.0)?;
        Some(Draft { tasks: draft.tasks.min(self.workers().count()), ..divided })
    }

    /// Where the tasks of a draft cut the values of the keys by which they read its tables, and what they cut: both by the
    /// number of the first scan.
    pub fn cuts_of(&self, draft: &Draft) -> (BTreeMap<usize, Vec<i64>>, BTreeMap<usize, Zones>) {
        let tables = self.plan().root.preorder_scans();
        let mut zones: BTreeMap<usize, Vec<&[Zone]>> = BTreeMap::new();
        for read in &draft.scans {
            let (Some(key), Some((_, scan))) = (read.key, tables.get(read.scan)) else { continue };
            let column = scan.ranges.iter().find(|range| range.number == key.column);
            zones.entry(key.cuts).or_default().extend(column.map(|column| column.zones.as_slice()));
        }
        let tasks = draft.tasks.min(self.workers().count());
        let cut = |(number, zones): (&usize, &Vec<&[Zone]>)| (*number, cuts(zones, tasks));
        (
            zones.iter().map(cut).collect(),
            zones.into_iter().map(|(number, zones)| (number, zones.concat().into())).collect(),
        )
    }

    /// Both sides of a join, placed where each reads a range of its key; nothing if one of them has to be elsewhere.
    pub fn with_ranges(&mut self, node: &PlanNode, number: usize, sides: [&PlanNode; 2]) -> Option<Site> {
        let before = self.mark();
        let placed = sides.map(|side| self.place(side));
        if let [Site::Workers(left), Site::Workers(right)] = placed
            && let Some(draft) = self.join_by_ranges(node, number, [left, right])
        {
            return Some(Site::Workers(draft));
        }
        self.reset(before);
        None
    }
}

/// Row groups that are cut may be read so often, all together, or so many times as halfway to what all tasks read where
/// nothing is stored by the key: nobody knows then how its values are spread.
const MOST_TIMES: f64 = 2.0;
/// The largest part may be so many times as large as an even one.
const MOST_UNEVEN: f64 = 1.5;

/// The scan, and its column, whose value a column of `node` has.
fn column_of_scan<'b>(node: &'b PlanNode, column: &Column) -> Option<(&'b PlanNode, &'b RangeColumn)> {
    match (&node.operator, node.children.as_slice()) {
        (Operator::Scan, _) => Some((node, node.scan.as_ref()?.ranges.iter().find(|range| range.column == *column)?)),
        (Operator::Projection | Operator::Aggregate, [child]) => {
            column_of_scan(child, &node.renames.iter().find(|rename| rename.now == *column)?.was)
        }
        (Operator::Union | Operator::SetOperation, _) => None,
        (_, children) => children.iter().find_map(|child| column_of_scan(child, column)),
    }
}

/// The draft, its table read by ranges of the key, if it can be.
fn divided_by(draft: Draft, key: &ShuffleKey) -> Option<Draft> {
    match draft.by_ranges_of(key)? {
        RangesOf::Already => Some(draft),
        RangesOf::Scan(Divisible { scan, column, key }) => {
            let mut draft = draft;
            let read = draft.scans.iter_mut().find(|read| read.scan == scan && !read.whole)?;
            read.key = Some(ScanKey { column, cuts: scan });
            draft.mode = Mode::KeyRangePartition;
            draft.partitioning = Some(Partitioning::by_ranges_of(key));
            draft.divisible.clear();
            Some(draft)
        }
    }
}
