//! Keys of a shuffled join that hold so many rows that one task would get most of the work.
//!
//! ```text
//!   left side: rows of the key go to each task in turn       task 0   task 1   task 2   task 3
//!                                                             k k      k k      k k      k k
//!   right side: rows of the key go to every task              K        K        K        K
//! ```
//!
//! Every row of the side that is spread meets all rows of the other with its key, and is in one task only. So the join
//! must be the same when that side is divided and the other is whole. (FULL is not: nobody could tell which rows of the
//! whole side have no partner anywhere.)

use std::collections::{HashMap, HashSet};

use crate::plan::JoinKind;

/// Some rows of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// By the hash of their keys, how many rows.
    pub hashes: HashMap<u64, u64>,
    /// One row of so many of the side's was taken.
    pub one_of: u64,
    /// Keys whose rows all lie side by side, as far as was seen: the rest of the side may have none.
    pub together: HashSet<u64>,
}

/// Rows of a sample below which it says nothing.
const TELLING_ROWS: u64 = 200;

impl Sample {
    pub fn rows(&self) -> u64 {
        self.hashes.values().sum()
    }

    /// How many rows the side may have with the key.
    fn estimate(&self, hash: u64) -> u64 {
        self.hashes.get(&hash).unwrap_or(&0).saturating_mul(self.one_of)
    }

    /// The keys with at least half a task's share of the rows, here and there.
    pub fn heavy(&self, tasks: u64) -> impl Iterator<Item = u64> {
        let rows = self.rows();
        let heavy = move |count: &u64| rows >= TELLING_ROWS && count.saturating_mul(2 * tasks) >= rows;
        let found = self.hashes.iter().filter(move |(_, count)| heavy(count)).map(|(hash, _)| *hash);
        found.filter(|hash| !self.together.contains(hash))
    }
}

/// A key whose rows are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeavyKey {
    pub hash: u64,
    /// Whose rows go to each task in turn: 0 is the left side. The other side's go to every task.
    pub spread: u64,
}

/// The sides of which a sample is needed.
pub fn sampled_sides(kind: JoinKind) -> [bool; 2] {
    match kind.divisible() {
        // What the other side has of the key must be known as well.
        [left, right] if !kind.gives_pairs() => [left || right; 2],
        sides => sides,
    }
}

/// The heavy keys of a join that `tasks` tasks run, from what is known of its sides, in the order of their hashes.
pub fn heavy_keys(kind: JoinKind, tasks: u64, sides: [Option<&Sample>; 2]) -> Vec<HeavyKey> {
    let mut found: HashMap<u64, HeavyKey> = HashMap::new();
    if tasks < 2 {
        return Vec::new();
    }
    for (side, divisible) in kind.divisible().into_iter().enumerate() {
        let (Some(sample), other) = (sides[side].filter(|_| divisible), sides[1 - side]) else { continue };
        for hash in sample.heavy(tasks) {
            let (rows, others) = (sample.estimate(hash), other.map(|other| other.estimate(hash)));
            let worth_it = match others {
                // The join makes at least as many rows of them as go to every task.
                _ if kind.gives_pairs() => true,
                Some(others) => others.saturating_mul(tasks - 1) <= rows,
                None => false,
            };
            let better = found.get(&hash).is_none_or(|_| others.is_some_and(|others| rows > others));
            if worth_it && better {
                found.insert(hash, HeavyKey { hash, spread: side as u64 });
            }
        }
    }
    let mut keys: Vec<HeavyKey> = found.into_values().collect();
    keys.sort_unstable_by_key(|key| key.hash);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: u64 = 4;
    use JoinKind as K;

    /// A thousand rows: so many of each of these keys, the rest all different.
    fn sample(counts: &[(u64, u64)]) -> Sample {
        let rest = 1000 - counts.iter().map(|(_, count)| count).sum::<u64>();
        let others = (0..rest).map(|number| (1_000_000 + number, 1));
        Sample { hashes: counts.iter().copied().chain(others).collect(), one_of: 100, ..Sample::default() }
    }

    fn keys(kind: JoinKind, left: &Sample, right: &Sample) -> Vec<(u64, u64)> {
        let found = heavy_keys(kind, TASKS, [Some(left), Some(right)]);
        found.into_iter().map(|key| (key.hash, key.spread)).collect()
    }

    #[test]
    fn a_key_of_half_a_tasks_share_is_heavy() {
        let left = sample(&[(7, 900), (8, 24)]);
        assert_eq!(keys(K::Inner, &left, &sample(&[(7, 1)])), [(7, 0)]);
        let several = sample(&[(7, 125), (8, 124), (9, 400)]);
        assert_eq!(keys(K::Left, &several, &sample(&[])), [(7, 0), (9, 0)]);
        assert_eq!(heavy_keys(K::Inner, 1, [Some(&left), None]), []);
        let few = Sample { hashes: [(7, 100)].into(), one_of: 100, ..Sample::default() };
        assert_eq!(keys(K::Inner, &few, &few), []);
    }

    /// As in a table that is stored by the key: each has the rows of one piece, and no more.
    #[test]
    fn a_key_whose_rows_lie_side_by_side_is_not_heavy() {
        let sample = Sample { together: [7].into(), ..sample(&[(7, 256), (8, 256)]) };
        assert_eq!(keys(K::Inner, &sample, &Sample::default()), [(8, 0)]);
    }

    #[test]
    fn only_a_side_that_may_be_divided_is_spread() {
        let (skewed, even) = (sample(&[(7, 900)]), sample(&[]));
        for kind in [K::Inner, K::Left, K::Semi, K::Anti, K::Single] {
            assert_eq!(keys(kind, &skewed, &even), [(7, 0)], "{kind:?}");
        }
        for kind in [K::Inner, K::Right, K::RightSemi, K::RightAnti] {
            assert_eq!(keys(kind, &even, &skewed), [(7, 1)], "{kind:?}");
        }
        for kind in [K::Outer, K::Invalid, K::Right, K::RightSemi, K::RightAnti] {
            assert_eq!(keys(kind, &skewed, &even), [], "{kind:?}");
        }
        for kind in [K::Outer, K::Invalid, K::Left, K::Semi, K::Anti, K::Single] {
            assert_eq!(keys(kind, &even, &skewed), [], "{kind:?}");
        }
    }

    #[test]
    fn of_two_heavy_sides_the_larger_is_spread() {
        let (most, many) = (sample(&[(7, 900)]), sample(&[(7, 300)]));
        assert_eq!(keys(K::Inner, &most, &many), [(7, 0)]);
        assert_eq!(keys(K::Inner, &many, &most), [(7, 1)]);
        let rare = Sample { one_of: 1, ..most.clone() };
        assert_eq!(keys(K::Inner, &rare, &many), [(7, 1)]);
    }

    /// A semi join makes fewer rows than would go to every task.
    #[test]
    fn many_partners_that_make_no_rows_stay_in_one_task() {
        let (left, right) = (sample(&[(7, 900)]), sample(&[(7, 900)]));
        assert_eq!(keys(K::Semi, &left, &right), []);
        assert_eq!(keys(K::Semi, &left, &sample(&[(7, 300)])), [(7, 0)]);
        assert_eq!(heavy_keys(K::Semi, TASKS, [Some(&left), None]), []);
        assert_eq!(heavy_keys(K::Left, TASKS, [Some(&left), None]).len(), 1);
        assert_eq!((sampled_sides(K::Semi), sampled_sides(K::Left)), ([true, true], [true, false]));
        assert_eq!(sampled_sides(K::Outer), [false, false]);
    }
}
