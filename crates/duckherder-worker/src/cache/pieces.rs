//! What is kept: which row groups, with which columns, in which table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use duckherder_proto::task::{StoredGroup, StoredRows};

use super::{Found, ROW_ID, qualified, quoted};

/// Columns by their places in a table's storage. What reads them may say their names to the user.
pub type Columns = BTreeMap<u32, String>;

/// A table of the cache: some columns of row groups that follow each other, and the row ids.
pub struct Piece {
    pub table: String,
    pub driver: u64,
    /// Their names, by their places in the storage of the table that they are of.
    pub columns: Columns,
    pub groups: Vec<StoredGroup>,
    /// As Arrow has them in memory.
    pub bytes: u64,
}

/// Keeps the pieces from being dropped that a task reads.
#[derive(Clone)]
pub struct Used(#[allow(dead_code, reason = "it is counted")] Vec<Arc<()>>);

#[derive(Default)]
pub struct Pieces {
    kept: Vec<Kept>,
    /// Where each row group is, of each driver.
    places: HashMap<(u64, StoredGroup), Vec<usize>>,
    clock: u64,
}

struct Kept {
    piece: Piece,
    last_used: u64,
    /// Shared with who reads it.
    used: Arc<()>,
}

impl Pieces {
    pub fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.piece.bytes).sum()
    }

    /// The rows, if they are here, but for those of row groups that follow each other, which will be the relation `rest`.
    pub fn find(&mut self, wanted: &StoredRows, rest: &str) -> Option<Found> {
        let columns = columns_of(wanted);
        // In order; without a place: missing.
        let mut parts: Vec<(Option<usize>, Vec<StoredGroup>)> = Vec::new();
        for group in &wanted.groups {
            let places = self.places.get(&(wanted.driver, *group)).map_or(&[][..], Vec::as_slice);
            let mut places = places.iter().filter(|place| has_all(&self.kept[**place].piece.columns, &columns));
            let first = places.clone().next().copied();
            match parts.last_mut() {
                Some((None, groups)) if first.is_none() => groups.push(*group),
                Some((Some(place), groups)) if places.any(|other| other == place) => groups.push(*group),
                _ => parts.push((first, vec![*group])),
            }
        }
        let mut missing = parts.iter().filter(|(place, _)| place.is_none()).map(|(_, groups)| groups.clone());
        let (missing, none) = (missing.next(), missing.next());
        if none.is_some() || parts.iter().all(|(place, _)| place.is_none()) {
            return None;
        }
        self.clock += 1;
        let mut queries = Vec::new();
        let mut used = Vec::new();
        for (place, groups) in &parts {
            let Some(place) = place else {
                queries.push(query_of(wanted, rest, None, None));
                continue;
            };
            let kept = &mut self.kept[*place];
            kept.last_used = self.clock;
            used.push(Arc::clone(&kept.used));
            queries.push(query(wanted, &kept.piece, groups));
        }
        Some(Found { sql: queries.join(" UNION ALL "), missing: missing.unwrap_or_default(), used: Used(used) })
    }

    /// The row groups of an input that are missing, in runs that follow each other, and the columns that are to be fetched
    /// of each: those that are wanted, and those that are here in part.
    pub fn missing(&self, wanted: &StoredRows) -> Vec<(Vec<StoredGroup>, Columns)> {
        let columns = columns_of(wanted);
        let mut runs: Vec<(Vec<StoredGroup>, Columns)> = Vec::new();
        let mut follows = false;
        for group in &wanted.groups {
            let places = self.places.get(&(wanted.driver, *group)).map_or(&[][..], Vec::as_slice);
            let here = places.iter().map(|place| &self.kept[*place].piece.columns);
            if here.clone().any(|here| has_all(here, &columns)) {
                follows = false;
                continue;
            }
            let mut all = columns.clone();
            for (number, name) in here.flatten() {
                // Columns may have changed their names since.
                if !all.contains_key(number) && all.values().all(|other| !other.eq_ignore_ascii_case(name)) {
                    all.insert(*number, name.clone());
                }
            }
            match runs.last_mut() {
                Some((groups, run)) if follows && *run == all => groups.push(*group),
                _ => runs.push((vec![*group], all)),
            }
            follows = true;
        }
        runs
    }

    /// Takes in a piece; the tables that are to be dropped for it: what it replaces, and, beyond the limit, what nobody
    /// has read for longest.
    pub fn add(&mut self, piece: Piece, limit: u64) -> Vec<String> {
        self.clock += 1;
        let groups: BTreeSet<_> = piece.groups.iter().map(|group| group.number).collect();
        let replaces = |old: &Piece| {
            old.driver == piece.driver
                && old.columns.keys().all(|number| piece.columns.contains_key(number))
                && old.groups.iter().all(|group| groups.contains(&group.number))
        };
        let mut dropped = Vec::new();
        // Whoever reads a piece still has its name; it goes the next time.
        self.kept.retain(|kept| {
            let goes = replaces(&kept.piece) && Arc::strong_count(&kept.used) == 1;
            if goes {
                dropped.push(kept.piece.table.clone());
            }
            !goes
        });
        self.kept.push(Kept { piece, last_used: self.clock, used: Arc::default() });
        while self.bytes() > limit {
            let idle = self.kept.iter().enumerate().filter(|(_, kept)| Arc::strong_count(&kept.used) == 1);
            let Some((oldest, _)) = idle.min_by_key(|(_, kept)| kept.last_used) else { break };
            dropped.push(self.kept.remove(oldest).piece.table);
        }
        self.places.clear();
        for (place, kept) in self.kept.iter().enumerate() {
            for group in &kept.piece.groups {
                self.places.entry((kept.piece.driver, *group)).or_default().push(place);
            }
        }
        dropped
    }
}

fn columns_of(wanted: &StoredRows) -> Columns {
    wanted.columns.iter().map(|column| (column.number, column.name.clone())).collect()
}

fn has_all(columns: &Columns, wanted: &Columns) -> bool {
    wanted.iter().all(|(number, name)| columns.get(number) == Some(name))
}

/// The wanted rows of some row groups of a piece, under the names that they have at the driver.
fn query(wanted: &StoredRows, piece: &Piece, groups: &[StoredGroup]) -> String {
    // Beside what the input asks for, row groups that only the piece has.
    let end = groups.last().and_then(|last| {
        let place = piece.groups.iter().position(|group| group == last)?;
        piece.groups.get(place + 1).map(|next| next.first)
    });
    let begin = groups.first().filter(|first| piece.groups.first() != Some(*first)).map(|first| first.first);
    query_of(wanted, &qualified(&piece.table), begin, end)
}

/// The wanted rows of a relation that has their columns, from the row id `begin` on and before `end`.
fn query_of(wanted: &StoredRows, relation: &str, begin: Option<u64>, end: Option<u64>) -> String {
    let columns = wanted.columns.iter().map(|column| quoted(&column.name));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let conditions = [
        begin.map(|row| format!("{ROW_ID} >= {row}")),
        end.map(|row| format!("{ROW_ID} < {row}")),
        wanted.first.map(|row| format!("{ROW_ID} >= {row}")),
        wanted.last.map(|row| format!("{ROW_ID} <= {row}")),
        Some(wanted.condition.clone()).filter(|condition| !condition.is_empty()),
    ];
    let conditions: Vec<String> = conditions.into_iter().flatten().collect();
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("SELECT {columns} FROM {relation}{filter}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use duckherder_proto::task::StoredColumn;

    fn group(number: u64) -> StoredGroup {
        StoredGroup { first: number * 100, number, inserted: 100, visible: 90 }
    }

    fn named(columns: &[u32]) -> Columns {
        columns.iter().map(|number| (*number, format!("n{number}"))).collect()
    }

    fn piece(table: &str, groups: &[u64], columns: &[u32]) -> Piece {
        Piece {
            table: table.to_string(),
            driver: 1,
            columns: named(columns),
            groups: groups.iter().copied().map(group).collect(),
            bytes: 10,
        }
    }

    fn wanted(groups: &[u64], columns: &[u32]) -> StoredRows {
        let column = |number: &u32| StoredColumn { number: *number, name: format!("n{number}") };
        StoredRows {
            driver: 1,
            table: "t".to_string(),
            columns: columns.iter().map(column).collect(),
            groups: groups.iter().copied().map(group).collect(),
            first: None,
            last: None,
            condition: String::new(),
        }
    }

    #[test]
    fn rows_are_found_in_several_pieces_or_not_at_all() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1, 2, 3], &[0, 4]), 100);
        pieces.add(piece("b", &[4, 5], &[0, 4, 5]), 100);
        let sql = |pieces: &mut Pieces, wanted: &StoredRows| {
            pieces.find(wanted, "rest").filter(|found| found.missing.is_empty()).map(|found| found.sql)
        };
        let both = "SELECT \"n4\" FROM duckherder_cache.main.a WHERE \"duckherder row id\" >= 200 UNION ALL \
                    SELECT \"n4\" FROM duckherder_cache.main.b WHERE \"duckherder row id\" < 500";
        assert_eq!(sql(&mut pieces, &wanted(&[2, 3, 4], &[4])).as_deref(), Some(both));
        assert_eq!(sql(&mut pieces, &wanted(&[3, 4], &[5])), None);
        assert_eq!(sql(&mut pieces, &wanted(&[5, 6], &[4])), None);
        assert_eq!(sql(&mut pieces, &StoredRows { driver: 2, ..wanted(&[1], &[0]) }), None);
        let mut deleted = wanted(&[1], &[0]);
        deleted.groups[0].visible = 89;
        assert_eq!(sql(&mut pieces, &deleted), None);
        let part = StoredRows { first: Some(110), last: Some(150), ..wanted(&[1], &[0]) };
        let rows = "SELECT \"n0\" FROM duckherder_cache.main.a WHERE \"duckherder row id\" < 200 AND \"duckherder row id\" >= 110 AND \"duckherder row id\" <= 150";
        assert_eq!(sql(&mut pieces, &part).as_deref(), Some(rows));
    }

    /// Rows that were appended, say.
    #[test]
    fn some_may_be_missing_if_they_follow_each_other() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1, 2], &[0]), 100);
        pieces.add(piece("b", &[5], &[0]), 100);
        let found = pieces.find(&wanted(&[2, 3, 4, 5], &[0]), "rest").unwrap();
        let parts = "SELECT \"n0\" FROM duckherder_cache.main.a WHERE \"duckherder row id\" >= 200 UNION ALL \
                     SELECT \"n0\" FROM rest UNION ALL SELECT \"n0\" FROM duckherder_cache.main.b";
        assert_eq!((found.sql.as_str(), found.missing), (parts, vec![group(3), group(4)]));
        assert!(pieces.find(&wanted(&[0, 1, 2, 3], &[0]), "rest").is_none());
        assert!(pieces.find(&wanted(&[7, 8], &[0]), "rest").is_none());
    }

    #[test]
    fn what_is_missing_is_fetched_with_the_columns_that_are_here() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1, 2], &[0, 4]), 100);
        let all = named;
        let missing = pieces.missing(&wanted(&[1, 2, 3, 4], &[5]));
        assert_eq!(missing, [(vec![group(1), group(2)], all(&[0, 4, 5])), (vec![group(3), group(4)], all(&[5]))]);
        assert_eq!(pieces.missing(&wanted(&[2, 3], &[4])), [(vec![group(3)], all(&[4]))]);
        assert_eq!(pieces.missing(&wanted(&[2], &[4])), []);
        assert_eq!(pieces.add(piece("b", &[1, 2], &[0, 4, 5]), 100), ["a"]);
    }

    #[test]
    fn what_nobody_has_read_for_longest_goes_first_and_what_is_read_stays() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1], &[0]), 25);
        pieces.add(piece("b", &[2], &[0]), 25);
        pieces.find(&wanted(&[1], &[0]), "rest").unwrap();
        let read = pieces.find(&wanted(&[2], &[0]), "rest").unwrap();
        pieces.find(&wanted(&[1], &[0]), "rest").unwrap();
        assert_eq!(pieces.add(piece("c", &[3], &[0]), 25), ["a"]);
        drop(read);
        assert_eq!(pieces.add(piece("d", &[4], &[0]), 25), ["b"]);
        assert_eq!(pieces.bytes(), 20);
    }
}
