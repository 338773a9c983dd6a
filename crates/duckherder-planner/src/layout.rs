//! What each task of a stage reads where workers own parts of the tables: those of its worker.
//!
//! ```text
//!   parts of all tables        |    a    |  e  |   b   |   c   |  e  |    d    |
//!   nobody sees an order       task 0: a, task 1: b, task 2: c, task 3: d, task 4: both of e
//!   somebody does              tasks 0 to 5, a part each, put one after the other; e has two of them
//! ```
//!
//! Whole row groups go where their middle is, so that the same worker reads them in each query; ranges of a key are cut so
//! that about as many rows come before each cut as come before it in a table that is read by its row ids.

use std::ops::Range;

use crate::owners::{Owners, Part, WHOLE, ranges};
use crate::split::{Mode, RowGroup, Split};
use crate::zones::{Zone, cut_at};

/// Behind all row ids.
const OPEN_END: u64 = i64::MAX as u64 + 1;

/// The tasks of a stage and the parts of its tables that they read.
#[derive(Clone, Debug)]
pub struct Layout {
    workers: Vec<String>,
    parts: Vec<Part>,
    /// By task.
    tasks: Vec<Task>,
}

#[derive(Clone, Debug)]
struct Task {
    owner: usize,
    /// In their order.
    parts: Vec<usize>,
    /// Of all rows.
    share: f64,
}

impl Layout {
    /// Of a stage with as many tasks a worker as `times` says, as a fraction. `in_order`: somebody sees in which order the
    /// rows of the tasks come.
    pub fn new(owners: &Owners, times: (u64, u64), in_order: bool) -> Self {
        let parts = owners.repeated(times);
        let sizes: Vec<f64> = ranges(&parts).map(|range| (range.end - range.start) as f64 / WHOLE as f64).collect();
        let numbers: Vec<usize> = (0..parts.len()).collect();
        let mut tasks: Vec<Task> = Vec::new();
        for round in numbers.chunks(owners.parts().len()) {
            let mut of_round: Vec<Task> = Vec::new();
            for number in round.iter().copied() {
                let (owner, share) = (parts[number].owner, sizes[number]);
                match of_round.iter_mut().find(|task| !in_order && task.owner == owner) {
                    Some(task) => {
                        task.parts.push(number);
                        task.share += share;
                    }
                    None => of_round.push(Task { owner, parts: vec![number], share }),
                }
            }
            if !in_order {
                of_round.sort_by_key(|task| task.owner);
            }
            tasks.append(&mut of_round);
        }
        Self { workers: owners.workers().to_vec(), parts, tasks }
    }

    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Whose the task is; empty, if it is none of these.
    pub fn owner(&self, task: usize) -> &str {
        self.tasks.get(task).map_or("", |task| &self.workers[task.owner])
    }

    /// The part of all rows that a task reads, about.
    pub fn share(&self, task: usize) -> f64 {
        self.tasks.get(task).map_or(0.0, |task| task.share)
    }

    /// By task: what it reads of a table.
    pub fn rows(&self, mode: Mode, row_groups: &[RowGroup]) -> Vec<Split> {
        let mut ends = match mode {
            Mode::RowGroupPartition => self.ends_of_row_groups(row_groups),
            _ => {
                let end = row_groups.iter().map(|group| group.start + group.rows).max().unwrap_or(0);
                let row = |part: &Part| (u128::from(end) * u128::from(part.end) / u128::from(WHOLE)) as u64;
                self.parts.iter().map(row).collect()
            }
        };
        // Whatever is behind what is known.
        if let Some(last) = ends.last_mut() {
            *last = OPEN_END;
        }
        let range = |rows: Range<u64>| Split::Range {
            first: Some(rows.start).filter(|first| *first > 0),
            last: Some(rows.end - 1).filter(|_| rows.end < OPEN_END),
        };
        let of_task = |task: &Task| Split::of(task.between(0, &ends).into_iter().map(range).collect());
        self.tasks.iter().map(of_task).collect()
    }

    /// Where each part ends: at the row group's end that is nearest; or at the one beyond, if its owner would have a row
    /// group too many or too few in all.
    fn ends_of_row_groups(&self, row_groups: &[RowGroup]) -> Vec<u64> {
        let befores: Vec<i128> = std::iter::once(0)
            .chain(row_groups.iter().scan(0, |before, group| {
                *before += i128::from(group.rows);
                Some(*before)
            }))
            .collect();
        let total = befores.last().copied().unwrap_or(0);
        // What each worker has more than its parts so far, in rows.
        let mut more = vec![0_i128; self.workers.len()];
        let (mut place, mut exact) = (0, 0_i128);
        let mut ends = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let wanted = total * i128::from(part.end) / i128::from(WHOLE);
            let middle = |group: usize| befores[group] + i128::from(row_groups[group].rows / 2);
            let nearest = (place..row_groups.len()).find(|group| middle(*group) >= wanted).unwrap_or(row_groups.len());
            let other = match befores[nearest].cmp(&wanted) {
                std::cmp::Ordering::Less => (nearest + 1).min(row_groups.len()),
                std::cmp::Ordering::Equal => nearest,
                std::cmp::Ordering::Greater => nearest.saturating_sub(1).max(place),
            };
            let with = |end: usize| more[part.owner] + befores[end] - befores[place] - (wanted - exact);
            let rows = (befores[other] - befores[nearest]).abs();
            let end = if with(other).abs() * 2 + rows < with(nearest).abs() * 2 { other } else { nearest };
            more[part.owner] = with(end);
            (place, exact) = (end, wanted);
            ends.push(row_groups.get(end).map_or(OPEN_END, |group| group.start));
        }
        ends
    }

    /// By task: what it reads of a table, or of files, by ranges of a column of which nothing is NULL. `zones`: those of all
    /// that is cut at the same values.
    pub fn keys(&self, column: u64, zones: &[Zone]) -> Vec<Split> {
        let mut before = i128::from(i64::MIN);
        let mut ends: Vec<i128> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let cut = cut_at(&[zones], part.end as f64, WHOLE as f64).filter(|_| part.end < WHOLE);
            before = cut.map_or(i128::from(i64::MAX) + 1, i128::from).max(before);
            ends.push(before);
        }
        if let Some(last) = ends.last_mut() {
            *last = i128::from(i64::MAX) + 1;
        }
        let (lowest, highest) = (i128::from(i64::MIN), i128::from(i64::MAX));
        let range = |keys: Range<i128>| Split::Keys {
            column,
            least: Some(keys.start as i64).filter(|_| keys.start > lowest),
            greatest: Some((keys.end - 1) as i64).filter(|_| keys.end <= highest),
            first: None,
            last: None,
        };
        let of_task = |task: &Task| Split::of(task.between(lowest, &ends).into_iter().map(range).collect());
        self.tasks.iter().map(of_task).collect()
    }
}

impl Task {
    /// From where to where its parts are, neighbours together, but for those that are empty. `ends`: of all parts.
    fn between<N: Copy + Ord>(&self, begin: N, ends: &[N]) -> Vec<Range<N>> {
        let mut found: Vec<Range<N>> = Vec::new();
        for part in &self.parts {
            let range = part.checked_sub(1).map_or(begin, |before| ends[before])..ends[*part];
            match found.last_mut() {
                _ if range.is_empty() => {}
                Some(before) if before.end == range.start => before.end = range.end,
                _ => found.push(range),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::{ROW_GROUP_ROWS, split_by_keys};
    use crate::zones::cuts;

    const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn groups(count: u64) -> Vec<RowGroup> {
        (0..count).map(|number| RowGroup { start: number * ROW_GROUP_ROWS, rows: ROW_GROUP_ROWS }).collect()
    }

    /// Of all sizes, as after deletes.
    fn uneven_groups(count: u64) -> Vec<RowGroup> {
        let rows = |number: u64| 1 + (number * 7919 + count) % ROW_GROUP_ROWS;
        groups(count).iter().map(|group| RowGroup { rows: rows(group.start / ROW_GROUP_ROWS), ..*group }).collect()
    }

    /// Several that have come to be so.
    fn herds() -> Vec<Owners> {
        let four = Owners::even(&FIVE[..4]);
        let five = four.changed(&FIVE);
        let others = five.changed(&["b", "c", "d", "e"]);
        let three = others.changed(&["b", "d", "e"]);
        let six = three.changed(&["b", "d", "e", "f", "g", "h"]);
        vec![four, five, others, three, six]
    }

    fn has(split: &Split, row: u64) -> bool {
        match split {
            Split::Range { first, last } => {
                first.is_none_or(|first| row >= first) && last.is_none_or(|last| row <= last)
            }
            Split::Several(parts) => parts.iter().any(|part| has(part, row)),
            Split::Blocks { .. } | Split::Keys { .. } => false,
        }
    }

    /// The task that reads it; no other one does.
    fn reader(splits: &[Split], reads: impl Fn(&Split) -> bool) -> usize {
        let readers: Vec<usize> = (0..splits.len()).filter(|task| reads(&splits[*task])).collect();
        assert_eq!(readers.len(), 1, "{readers:?}");
        readers[0]
    }

    #[test]
    fn each_row_is_read_once() {
        for owners in herds() {
            for times in [(1, 1), (4, 1), (6, 4), (5, 3)] {
                for in_order in [true, false] {
                    let layout = Layout::new(&owners, times, in_order);
                    for row_groups in [0, 1, 2, 5, 13, 49].map(uneven_groups) {
                        for mode in [Mode::RowGroupPartition, Mode::NaturalPartition] {
                            let splits = layout.rows(mode, &row_groups);
                            assert_eq!(splits.len(), layout.tasks());
                            let end = row_groups.len() as u64 * ROW_GROUP_ROWS;
                            let rows = (0..end).step_by(4999).chain([end, end + 7, i64::MAX as u64 - 1]);
                            let readers: Vec<usize> =
                                rows.map(|row| reader(&splits, |split| has(split, row))).collect();
                            assert!(!in_order || readers.is_sorted());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_worker_has_whole_row_groups_and_an_even_share_of_them() {
        for owners in herds() {
            let layout = Layout::new(&owners, (1, 1), false);
            for count in [5, 13, 49, 200] {
                let splits = layout.rows(Mode::RowGroupPartition, &groups(count));
                let mut read = vec![0; owners.workers().len()];
                for group in groups(count) {
                    let task = reader(&splits, |split| has(split, group.start));
                    assert!(has(&splits[task], group.start + group.rows - 1));
                    assert_eq!(layout.owner(task), owners.workers()[task]);
                    read[task] += 1;
                }
                let share = count as f64 / read.len() as f64;
                assert!(read.iter().all(|read| (f64::from(*read) - share).abs() < 1.6), "{read:?} of {count}");
            }
        }
    }

    #[test]
    fn a_worker_that_joins_or_leaves_moves_its_row_groups() {
        let herds = herds();
        for (before, after, share) in [(&herds[0], &herds[1], 0.2), (&herds[1], &herds[2], 0.2)] {
            for count in [41, 49, 200, 1000] {
                for times in [(1, 1), (4, 1)] {
                    let owner = |owners: &Owners, row: u64| {
                        let layout = Layout::new(owners, times, times.0 > 1);
                        let splits = layout.rows(Mode::RowGroupPartition, &groups(count));
                        layout.owner(reader(&splits, |split| has(split, row))).to_string()
                    };
                    let moves = |group: &&RowGroup| owner(before, group.start) != owner(after, group.start);
                    let moved = groups(count).iter().filter(moves).count() as f64;
                    let most = share * count as f64 * 1.1 + 2.0 * times.0 as f64;
                    assert!(moved <= most, "{moved} of {count} moved, {times:?}");
                }
            }
        }
    }

    fn stored_by(groups: i64, width: i64) -> Vec<Zone> {
        (0..groups).map(|group| Zone { rows: 1000, least: group * width, greatest: (group + 1) * width - 1 }).collect()
    }

    fn has_key(split: &Split, key: i64) -> bool {
        match split {
            Split::Keys { least, greatest, .. } => {
                least.is_none_or(|least| key >= least) && greatest.is_none_or(|greatest| key <= greatest)
            }
            Split::Several(parts) => parts.iter().any(|part| has_key(part, key)),
            _ => false,
        }
    }

    #[test]
    fn keys_are_read_where_row_groups_are() {
        let zones = stored_by(49, 100);
        let even = Owners::even(&FIVE);
        assert_eq!(Layout::new(&even, (1, 1), false).keys(3, &zones), split_by_keys(3, &cuts(&[&zones], 5)));
        for owners in herds() {
            for in_order in [true, false] {
                let layout = Layout::new(&owners, (1, 1), in_order);
                let (rows, keys) = (layout.rows(Mode::RowGroupPartition, &groups(49)), layout.keys(3, &zones));
                let reads = |key: i64| reader(&keys, |split| has_key(split, key));
                let near = (0..4900).filter(|key| {
                    let row = *key as u64 * ROW_GROUP_ROWS / 100;
                    layout.owner(reads(*key)) == layout.owner(reader(&rows, |split| has(split, row)))
                });
                assert!(near.count() > 4900 * 9 / 10);
                [i64::MIN, -1, 4900, i64::MAX].into_iter().for_each(|key| _ = reads(key));
                assert!(!in_order || (0..4900).map(reads).is_sorted());
            }
        }
    }

    #[test]
    fn one_value_goes_to_one_task() {
        for zones in [vec![Zone { rows: 10, least: 5, greatest: 5 }], stored_by(1, 3), Vec::new()] {
            for owners in herds() {
                let splits = Layout::new(&owners, (1, 1), false).keys(0, &zones);
                for key in [i64::MIN, 0, 1, 2, 4, 5, 6, i64::MAX] {
                    reader(&splits, |split| has_key(split, key));
                }
            }
        }
    }
}
