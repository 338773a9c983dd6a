//! Which values of a column are where in a table: what its row groups say, as the least and the greatest of each.
//!
//! ```text
//!   orders     1..40  41..80  81..120        three row groups; no value is in two: "stored by" the column
//!   lineitem   1..30  31..60  61..90  91..120
//!              ------- cut at 61 -------     task 0 reads what is less, task 1 the rest, of both tables
//! ```
//!
//! Values are cut, not row groups: whatever zones say, each row is in exactly one part. They say what that costs.

use std::sync::Arc;

use serde::Deserialize;

/// A row group, or several that follow each other: so many rows, none of which has a value, as a number, beyond these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "(u64, i64, i64)")]
pub struct Zone {
    pub rows: u64,
    pub least: i64,
    pub greatest: i64,
}

/// Those of several tables together.
pub type Zones = Arc<[Zone]>;

impl From<(u64, i64, i64)> for Zone {
    fn from((rows, least, greatest): (u64, i64, i64)) -> Self {
        Self { rows, least, greatest }
    }
}

impl Zone {
    /// Rows with values before `value`, about: as if they were spread evenly.
    fn rows_before(&self, value: i128) -> f64 {
        let (least, greatest) = (i128::from(self.least), i128::from(self.greatest));
        let part = (value - least) as f64 / (greatest - least + 1) as f64;
        self.rows as f64 * part.clamp(0.0, 1.0)
    }
}

/// The values at which each of `tasks` parts but the first begins, so that all have about as many rows of all these
/// tables; fewer where one value has more than a part. Each is greater than the one before.
pub fn cuts(tables: &[&[Zone]], tasks: u64) -> Vec<i64> {
    let mut cuts: Vec<i64> = Vec::new();
    for task in 1..tasks {
        let cut = cut_at(tables, task as f64, tasks as f64);
        cuts.extend(cut.filter(|cut| cuts.last().is_none_or(|last| last < cut)));
    }
    cuts
}

/// The least value, but for the very least, before which there are so many of so many parts of the rows of all these tables;
/// `None` if they have no two values.
pub fn cut_at(tables: &[&[Zone]], parts: f64, of: f64) -> Option<i64> {
    let zones = || tables.iter().flat_map(|zones| zones.iter());
    let (least, greatest) = (zones().map(|zone| zone.least).min()?, zones().map(|zone| zone.greatest).max()?);
    let wanted = zones().map(|zone| zone.rows as f64).sum::<f64>() * parts / of;
    let (mut low, mut high) = (i128::from(least) + 1, i128::from(greatest));
    while low < high {
        let middle = (low + high).div_euclid(2);
        match zones().map(|zone| zone.rows_before(middle)).sum::<f64>() >= wanted {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    i64::try_from(low).ok().filter(|cut| *cut <= greatest)
}

/// What parts read of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// How often all parts together read a row of it: a row group that a cut divides is read by two.
    pub times: f64,
    /// Rows of the largest part, as a part of all.
    pub largest: f64,
}

/// What the parts between the cuts read of a table.
pub fn reading(zones: &[Zone], cuts: &[i64]) -> Reading {
    let total: f64 = zones.iter().map(|zone| zone.rows as f64).sum();
    let bounds = |part: usize| {
        let first = part.checked_sub(1).map_or(i128::from(i64::MIN), |before| i128::from(cuts[before]));
        (first, cuts.get(part).map_or(i128::from(i64::MAX) + 1, |next| i128::from(*next)))
    };
    let (mut read, mut largest) = (0.0, 0.0_f64);
    for (first, next) in (0..=cuts.len()).map(bounds) {
        let touched = zones.iter().filter(|zone| i128::from(zone.greatest) >= first && i128::from(zone.least) < next);
        read += touched.map(|zone| zone.rows as f64).sum::<f64>();
        let own: f64 = zones.iter().map(|zone| zone.rows_before(next) - zone.rows_before(first)).sum();
        largest = largest.max(own);
    }
    Reading { times: read / total.max(1.0), largest: largest / total.max(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored_by(groups: i64, width: i64) -> Vec<Zone> {
        (0..groups).map(|group| Zone { rows: 1000, least: group * width, greatest: (group + 1) * width - 1 }).collect()
    }

    #[test]
    fn parts_of_sorted_tables_are_even_and_read_once() {
        let (orders, lines) = (stored_by(12, 400), stored_by(48, 100));
        let found = cuts(&[&orders, &lines], 4);
        assert_eq!(found, [1200, 2400, 3600]);
        for table in [&orders, &lines] {
            assert_eq!(reading(table, &found), Reading { times: 1.0, largest: 0.25 });
        }
    }

    #[test]
    fn a_row_group_that_is_cut_is_read_twice() {
        let table = stored_by(3, 100);
        let found = cuts(&[&table], 2);
        assert_eq!(found, [150]);
        assert_eq!(reading(&table, &found), Reading { times: 4.0 / 3.0, largest: 0.5 });
    }

    #[test]
    fn what_is_everywhere_is_read_by_all() {
        let table = vec![Zone { rows: 1000, least: 0, greatest: 999 }; 8];
        let found = cuts(&[&table], 4);
        assert_eq!(found, [250, 500, 750]);
        assert_eq!(reading(&table, &found).times, 4.0);
    }

    #[test]
    fn one_value_is_never_cut() {
        let heavy = [Zone { rows: 9000, least: 5, greatest: 5 }, Zone { rows: 1000, least: 6, greatest: 9 }];
        let found = cuts(&[&heavy], 4);
        assert_eq!(found, [6]);
        assert_eq!(reading(&heavy, &found).largest, 0.9);
        assert_eq!(cuts(&[&heavy[..1]], 4), [0_i64; 0]);
        assert_eq!(cuts(&[], 4), [0_i64; 0]);
    }

    #[test]
    fn the_ends_of_all_numbers() {
        let table = [Zone { rows: 10, least: i64::MIN, greatest: -1 }, Zone { rows: 10, least: 0, greatest: i64::MAX }];
        let found = cuts(&[&table], 2);
        assert_eq!(found.len(), 1);
        assert!(reading(&table, &found).largest <= 0.51);
        let last = [Zone { rows: 10, least: i64::MAX, greatest: i64::MAX }];
        assert!(cuts(&[&last], 3).is_empty());
    }
}
