//! How the rows of a table are divided among tasks.

use std::sync::Arc;

use crate::plan::Scan;

/// Rows of DuckDB's row groups, unless a database was made with another size.
pub const ROW_GROUP_ROWS: u64 = 122_880;
/// Rows a DuckDB thread is given at least (`PhysicalOperator::EstimatedThreadCount`, DuckDB 2.0.0).
const ROWS_A_THREAD: u64 = 2 * ROW_GROUP_ROWS;
/// Tasks a worker elsewhere of a stage whose rows are read one task after the other: while some wait for their turn, it
/// has others. Any other stage has one: a worker runs it with all of its threads, and a table that each task reads whole
/// is read once. So it is where all workers are in the driver's process, whose threads they share.
const TASKS_A_WORKER_IN_ORDER: u64 = 4;

/// Who can run tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// In the driver's process.
    pub local: u64,
    /// In processes of their own.
    pub remote: u64,
}

impl Workers {
    pub fn count(self) -> u64 {
        self.local + self.remote
    }

    /// Tasks of a stage at most whose rows are read one task after the other; of any other, there are as many as workers.
    pub fn most_tasks(self) -> u64 {
        match (self.remote, self.count()) {
            (0, count) | (_, count @ 1) => count,
            (_, count) => count * TASKS_A_WORKER_IN_ORDER,
        }
    }
}

/// How a query ran, by the name that the statistics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On the driver's own connection.
    Local,
    /// As one task, not split.
    Delegated,
    /// Even row id ranges.
    NaturalPartition,
    /// Whole row groups.
    RowGroupPartition,
    /// Ranges of the values of a column by which tables are stored.
    KeyRangePartition,
    /// Rows of other stages, by the hash of their keys.
    HashPartition,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "LOCAL",
            Self::Delegated => "DELEGATED",
            Self::NaturalPartition => "NATURAL_PARTITION",
            Self::RowGroupPartition => "ROW_GROUP_PARTITION",
            Self::KeyRangePartition => "KEY_RANGE_PARTITION",
            Self::HashPartition => "HASH_PARTITION",
        }
    }
}

/// Bytes of a file that are taken for a row: DuckDB's estimates for text are far off.
const BYTES_A_ROW: u64 = 100;
/// Rows of a table below which a task costs more than it could save.
pub const WORTH_A_TASK: u64 = 100;

/// The mode and the number of tasks for a table of `rows` rows and at least one worker; fewer rows than `min_split_rows`
/// are one task.
pub fn strategy(rows: u64, min_split_rows: u64, workers: Workers) -> (Mode, u64) {
    if rows < min_split_rows {
        return (Mode::Delegated, 1);
    }
    let threads = (rows / ROWS_A_THREAD).max(1);
    let tasks = threads.clamp(workers.count(), workers.most_tasks());
    let mode = if rows.div_ceil(ROW_GROUP_ROWS) >= tasks { Mode::RowGroupPartition } else { Mode::NaturalPartition };
    (mode, tasks)
}

/// The mode and the number of tasks for a scan.
pub fn strategy_of(scan: &Scan, min_split_rows: u64, workers: Workers) -> (Mode, u64) {
    let Some(files) = &scan.files else { return strategy(scan.rows, min_split_rows, workers) };
    let bytes: u64 = files.bytes.iter().sum();
    let (_, tasks) = strategy(scan.rows.max(bytes / BYTES_A_ROW), min_split_rows, workers);
    match (tasks.min(files.units().len() as u64), files.row_groups.is_empty()) {
        (0 | 1, _) => (Mode::Delegated, 1),
        (tasks, true) => (Mode::NaturalPartition, tasks),
        (tasks, false) => (Mode::RowGroupPartition, tasks),
    }
}

/// Divides files among at most `tasks` tasks, by their units, in order.
pub fn split_files(mode: Mode, tasks: u64, units: &[RowGroup]) -> Vec<Split> {
    match mode {
        // Where others are divided by keys, as well.
        Mode::RowGroupPartition | Mode::NaturalPartition | Mode::KeyRangePartition => {
            ranges(&row_group_starts(tasks, units))
        }
        Mode::Local | Mode::Delegated | Mode::HashPartition => vec![Split::WHOLE],
    }
}

/// A row group as the query's snapshot sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowGroup {
    /// Row id of its first row.
    pub start: u64,
    pub rows: u64,
}

/// Which rows a task reads. The splits of one list are disjoint and leave no row out, whatever the estimates were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// Row ids from `first` to `last`, both included; `None` is open-ended.
    Range { first: Option<u64>, last: Option<u64> },
    /// The first `rows` of every `every` row ids, a power of two: a sample, of which no order is asked. DuckDB leaves out
    /// blocks of rows, and with them the other columns' values.
    Blocks { every: u64, rows: u64 },
    /// Rows with a value, as a number, from `least` to `greatest` in a column; `None` is open-ended. All of them are among
    /// the row ids, or units, from `first` to `last`.
    Keys { column: u64, least: Option<i64>, greatest: Option<i64>, first: Option<u64>, last: Option<u64> },
    /// All of these, two at least, in their order: ranges, or keys of one column.
    Several(Arc<[Split]>),
}

impl Split {
    pub const WHOLE: Self = Self::Range { first: None, last: None };
    /// Of a table that has fewer parts than another of the same stage: behind every row id, and every unit of files.
    pub const NOTHING: Self = Self::Range { first: Some(i64::MAX as u64), last: None };

    /// All of these, in their order.
    pub fn of(parts: Vec<Self>) -> Self {
        match parts.len() {
            0 => Self::NOTHING,
            1 => parts.into_iter().next().unwrap_or(Self::NOTHING),
            _ => Self::Several(parts.into()),
        }
    }

    /// What it is of, in order: itself, but for several.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Several(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }
}

/// Divides a table by the values of a column, of which nothing is NULL: each part but the first begins with one of `cuts`.
pub fn split_by_keys(column: u64, cuts: &[i64]) -> Vec<Split> {
    let leasts = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let greatests = cuts.iter().map(|cut| cut.checked_sub(1)).chain(std::iter::once(None));
    let part = |(least, greatest)| Split::Keys { column, least, greatest, first: None, last: None };
    leasts.zip(greatests).map(part).collect()
}

/// Divides a table among at most `tasks` tasks, in the order of its rows.
pub fn split(mode: Mode, tasks: u64, row_groups: &[RowGroup]) -> Vec<Split> {
    match mode {
        Mode::Local | Mode::Delegated | Mode::HashPartition => vec![Split::WHOLE],
        Mode::RowGroupPartition => ranges(&row_group_starts(tasks, row_groups)),
        Mode::NaturalPartition | Mode::KeyRangePartition => {
            let end = row_groups.iter().map(|group| group.start + group.rows).max().unwrap_or(0);
            let mut starts: Vec<u64> = (1..tasks).map(|task| end * task / tasks).filter(|start| *start > 0).collect();
            starts.dedup();
            ranges(&starts)
        }
    }
}

/// The first row ids of all tasks but the first, each the start of a row group, the rows spread evenly.
fn row_group_starts(tasks: u64, row_groups: &[RowGroup]) -> Vec<u64> {
    let total: u64 = row_groups.iter().map(|group| group.rows).sum();
    let mut starts: Vec<u64> = Vec::new();
    let mut before = 0;
    for (index, group) in row_groups.iter().enumerate() {
        let wanted = starts.len() as u64 + 1;
        // As many row groups left as tasks left: each takes one.
        let scarce = (row_groups.len() - index) as u64 <= tasks - wanted;
        // The cut nearest to an even share.
        let due = (before + group.rows / 2) * tasks >= total * wanted;
        if index > 0 && wanted < tasks && (scarce || due) {
            starts.push(group.start);
        }
        before += group.rows;
    }
    starts
}

/// Ranges between the cuts `starts`, open at both ends.
fn ranges(starts: &[u64]) -> Vec<Split> {
    let firsts = std::iter::once(None).chain(starts.iter().copied().map(Some));
    let lasts = starts.iter().map(|start| Some(start - 1)).chain(std::iter::once(None));
    firsts.zip(lasts).map(|(first, last)| Split::Range { first, last }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Files;

    fn groups(rows: u64) -> Vec<RowGroup> {
        (0..rows.div_ceil(ROW_GROUP_ROWS))
            .map(|index| RowGroup {
                start: index * ROW_GROUP_ROWS,
                rows: ROW_GROUP_ROWS.min(rows - index * ROW_GROUP_ROWS),
            })
            .collect()
    }

    #[test]
    fn modes_by_rows() {
        let (local, remote) = (|local| Workers { local, remote: 0 }, |remote| Workers { local: 0, remote });
        let strategy = |rows, workers| strategy(rows, ROW_GROUP_ROWS, workers);
        for four in [local(4), remote(4)] {
            for rows in [0, 1, 100, 10_000, 122_879] {
                assert_eq!(strategy(rows, four), (Mode::Delegated, 1));
            }
            assert_eq!(strategy(122_880, four), (Mode::NaturalPartition, 4));
            assert_eq!(strategy(200_000, four), (Mode::NaturalPartition, 4));
            assert_eq!(strategy(250_000, four), (Mode::NaturalPartition, 4));
            assert_eq!(strategy(500_000, four), (Mode::RowGroupPartition, 4));
        }
        assert_eq!(strategy(6_000_000, local(4)), (Mode::RowGroupPartition, 4));
        assert_eq!(strategy(6_000_000, remote(4)), (Mode::RowGroupPartition, 16));
        assert_eq!(strategy(6_000_000, Workers { local: 1, remote: 1 }), (Mode::RowGroupPartition, 8));
        assert_eq!(strategy(6_000_000, remote(64)), (Mode::NaturalPartition, 64));
    }

    #[test]
    fn the_least_rows_that_are_split_can_be_chosen() {
        let four = Workers { local: 4, remote: 0 };
        assert_eq!(strategy(999, 1000, four), (Mode::Delegated, 1));
        assert_eq!(strategy(1000, 1000, four), (Mode::NaturalPartition, 4));
        assert_eq!(strategy(0, 0, four), (Mode::NaturalPartition, 4));
        assert_eq!(strategy(500_000, 1_000_000, four), (Mode::Delegated, 1));
    }

    /// Every row id, also beyond what the row groups tell, belongs to exactly one split.
    #[test]
    fn splits_cover_every_row_once() {
        for rows in [122_880, 200_000, 500_000, 3_000_001] {
            for workers in [1, 2, 3, 4, 7, 40] {
                let (mode, tasks) = strategy(rows, ROW_GROUP_ROWS, Workers { local: 0, remote: workers });
                let splits = split(mode, tasks, &groups(rows));
                assert_eq!(splits.len() as u64, tasks, "{rows} rows, {workers} workers");
                let owners = |row: u64| {
                    let owns = |split: &&Split| match split {
                        Split::Range { first, last } => {
                            first.is_none_or(|first| row >= first) && last.is_none_or(|last| row <= last)
                        }
                        Split::Blocks { every, rows } => row % every < *rows,
                        Split::Keys { .. } | Split::Several(_) => true,
                    };
                    splits.iter().filter(owns).count()
                };
                for row in (0..rows + 500_000).step_by(997).chain([0, rows - 1, rows, u64::MAX >> 1]) {
                    assert_eq!(owners(row), 1, "row {row} of {rows}, {workers} workers");
                }
            }
        }
    }

    #[test]
    fn row_groups_stay_whole_and_even() {
        let splits = split(Mode::RowGroupPartition, 4, &groups(500_000));
        let cuts = [122_880, 245_760, 368_640];
        let expected: Vec<Split> = ranges(&cuts);
        assert_eq!(splits, expected);
        assert_eq!(splits[0], Split::Range { first: None, last: Some(122_879) });
        assert_eq!(splits[3], Split::Range { first: Some(368_640), last: None });
    }

    #[test]
    fn fewer_row_groups_than_planned_make_fewer_tasks() {
        assert_eq!(split(Mode::RowGroupPartition, 4, &groups(10)), vec![Split::WHOLE]);
        assert_eq!(split(Mode::RowGroupPartition, 4, &[]), vec![Split::WHOLE]);
    }

    /// In the order of their rows, however few there are.
    #[test]
    fn a_table_that_shrank_is_split_in_order() {
        assert_eq!(split(Mode::NaturalPartition, 4, &groups(300)), ranges(&[75, 150, 225]));
        assert_eq!(split(Mode::NaturalPartition, 4, &groups(2)), ranges(&[1]));
        assert_eq!(split(Mode::NaturalPartition, 4, &[]), [Split::WHOLE]);
    }

    /// Every unit is in one task, and each task knows in which files its units are.
    #[test]
    fn files_are_divided_by_what_is_in_them() {
        let paths = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        let row_groups = vec![vec![100; 5], vec![0], vec![100], vec![300, 100, 100]];
        let parquet = Files { paths: paths(4), row_groups, ..Files::default() };
        let whole = Files { paths: paths(6), bytes: vec![10, 10, 10, 1000, 10, 0], ..Files::default() };
        for files in [&parquet, &whole] {
            let units = files.units();
            for tasks in 1..12 {
                let splits = split_files(Mode::RowGroupPartition, tasks, &units);
                assert_eq!(splits.len() as u64, tasks.min(units.len() as u64));
                for unit in 0..units.len() as u64 {
                    let readers = splits.iter().filter(|split| match split {
                        Split::Range { first, last } => {
                            first.is_none_or(|first| first <= unit) && last.is_none_or(|last| last >= unit)
                        }
                        Split::Blocks { .. } | Split::Keys { .. } | Split::Several(_) => true,
                    });
                    assert_eq!(readers.count(), 1);
                }
            }
        }
        assert_eq!(split_files(Mode::Delegated, 4, &parquet.units()), vec![Split::WHOLE]);
        let heavy = split_files(Mode::NaturalPartition, 2, &whole.units());
        assert_eq!(heavy[1], Split::Range { first: Some(3), last: None });

        assert_eq!(parquet.of_units(None, None), 0..4);
        assert_eq!(parquet.of_units(None, Some(4)), 0..1);
        assert_eq!(parquet.of_units(Some(4), Some(6)), 0..3);
        assert_eq!(parquet.of_units(Some(5), Some(5)), 1..2);
        assert_eq!(parquet.of_units(Some(8), None), 3..4);
        assert_eq!(whole.of_units(Some(2), Some(3)), 2..4);
        assert_eq!(whole.of_units(Some(6), None), 0..0);
    }
}
