//! What is kept: which row groups, with which columns, in which table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use duckherder_proto::task::{StoredGroup, StoredRows};

use super::{Found, ROW_ID, qualified, quoted};

/// Columns by their places in a table's storage. What reads them may say their names to the user.
pub type Columns = BTreeMap<u32, String>;

/// A table of the cache: some columns of row groups, and the row ids.
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

    /// The rows of all these parts, if some are here; those of other row groups will be the relation `rest`, which is read
    /// once. Where their order shows, these must follow each other.
    pub fn find(&mut self, wanted: &[StoredRows], rest: &str) -> Option<Found> {
        let found: Vec<_> = wanted.iter().map(|part| (part, self.places_of(part))).collect();
        let all = || found.iter().flat_map(|(_, places)| places);
        let runs = all().filter(|(place, _)| place.is_none()).count();
        if all().count() == runs || (runs > 1 && wanted.iter().any(|part| !part.in_any_order)) {
            return None;
        }
        let missing = all().filter(|(place, _)| place.is_none()).flat_map(|(_, groups)| groups.iter().copied());
        let mut missing: Vec<StoredGroup> = missing.collect();
        missing.sort_unstable_by_key(|group| group.first);
        missing.dedup();
        let rest_of = |(part, (place, groups)): (&StoredRows, &(Option<usize>, Vec<StoredGroup>))| {
            place.is_none().then(|| condition(part, among(&missing, groups)))
        };
        let conditions = found.iter().flat_map(|(part, places)| places.iter().map(move |place| (*part, place)));
        // Of several parts, each reads its own rows.
        let conditions: Option<Vec<String>> = conditions.filter_map(rest_of).collect();
        let mut rest = Some((rest, conditions.map(|conditions| conditions.join(" OR "))));
        self.clock += 1;
        let mut queries = Vec::new();
        let mut used = Vec::new();
        for (part, places) in &found {
            for (place, groups) in places {
                let Some(place) = place else {
                    queries.extend(rest.take().map(|(rest, filter)| select(part, rest, filter)));
                    continue;
                };
                let kept = &mut self.kept[*place];
                kept.last_used = self.clock;
                used.push(Arc::clone(&kept.used));
                let filter = condition(part, among(&kept.piece.groups, groups));
                queries.push(select(part, &qualified(&kept.piece.table), filter));
            }
        }
        Some(Found { sql: queries.join(" UNION ALL "), missing, used: Used(used) })
    }

    /// Which row groups are in which piece, in order; without a place: missing.
    fn places_of(&self, wanted: &StoredRows) -> Vec<(Option<usize>, Vec<StoredGroup>)> {
        let columns = columns_of(wanted);
        let mut parts: Vec<(Option<usize>, Vec<StoredGroup>)> = Vec::new();
        for group in &wanted.groups {
            let places = self.places.get(&(wanted.driver, *group)).map_or(&[][..], Vec::as_slice);
            let places = places.iter().filter(|place| has_all(&self.kept[**place].piece.columns, &columns));
            let places: Vec<_> = places.copied().map(Some).collect();
            let is_one = |place: &Option<usize>| places.contains(place) || (places.is_empty() && place.is_none());
            let known = match wanted.in_any_order {
                true => parts.iter_mut().find(|(place, _)| is_one(place)),
                false => parts.last_mut().filter(|(place, _)| is_one(place)),
            };
            match known {
                Some((_, groups)) => groups.push(*group),
                None => parts.push((places.first().copied().flatten(), vec![*group])),
            }
        }
        parts
    }

    /// The row groups of an input that are missing, in runs that follow each other where their order shows, and the columns
    /// that are to be fetched of each: those that are wanted, and those that are here in part.
    pub fn missing(&self, wanted: &StoredRows) -> Vec<(Vec<StoredGroup>, Columns)> {
        let columns = columns_of(wanted);
        let mut runs: Vec<(Vec<StoredGroup>, Columns)> = Vec::new();
        let mut follows = false;
        for group in &wanted.groups {
            let places = self.places.get(&(wanted.driver, *group)).map_or(&[][..], Vec::as_slice);
            let here = places.iter().map(|place| &self.kept[*place].piece.columns);
            if here.clone().any(|here| has_all(here, &columns)) {
                follows = wanted.in_any_order && !runs.is_empty();
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

/// The row ids of some of these row groups, as SQL; nothing if they are all.
fn among(all: &[StoredGroup], some: &[StoredGroup]) -> Option<String> {
    let mut runs: Vec<(Option<u64>, Option<u64>)> = Vec::new();
    let mut follows = false;
    for (place, group) in all.iter().enumerate() {
        let is_wanted = some.contains(group);
        let next = all.get(place + 1).map(|next| next.first);
        match runs.last_mut() {
            _ if !is_wanted => {}
            Some((_, end)) if follows => *end = next,
            _ => runs.push((Some(group.first).filter(|_| place > 0), next)),
        }
        follows = is_wanted;
    }
    let run = |(begin, end): &(Option<u64>, Option<u64>)| {
        let begin = begin.map(|row| format!("{ROW_ID} >= {row}"));
        let end = end.map(|row| format!("{ROW_ID} < {row}"));
        begin.into_iter().chain(end).collect::<Vec<_>>().join(" AND ")
    };
    match runs.as_slice() {
        [(None, None)] => None,
        [one] => Some(run(one)),
        several => Some(format!("({})", several.iter().map(run).collect::<Vec<_>>().join(" OR "))),
    }
}

/// Which of the row ids `among` which they are are wanted, as SQL; nothing if they all are.
fn condition(wanted: &StoredRows, among: Option<String>) -> Option<String> {
    let conditions = [
        among,
        wanted.first.map(|row| format!("{ROW_ID} >= {row}")),
        wanted.last.map(|row| format!("{ROW_ID} <= {row}")),
        Some(wanted.condition.clone()).filter(|condition| !condition.is_empty()),
    ];
    let conditions: Vec<String> = conditions.into_iter().flatten().collect();
    (!conditions.is_empty()).then(|| conditions.join(" AND "))
}

/// The wanted columns of a relation that has them, under the names that they have at the driver.
fn select(wanted: &StoredRows, relation: &str, filter: Option<String>) -> String {
    let columns = wanted.columns.iter().map(|column| quoted(&column.name));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
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
            in_any_order: false,
        }
    }

    /// As when workers come and go, and row groups have other owners.
    #[test]
    fn rows_of_others_between_those_that_are_wanted_are_left_out() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1, 2, 3, 4, 6], &[0]), 100);
        pieces.add(piece("b", &[5, 9], &[0]), 100);
        let scattered = StoredRows { in_any_order: true, ..wanted(&[1, 3, 4, 5, 6], &[0]) };
        let found = pieces.find(std::slice::from_ref(&scattered), "rest").unwrap();
        let id = "\"duckherder row id\"";
        let a = format!("SELECT \"n0\" FROM duckherder_cache.main.a WHERE ({id} < 200 OR {id} >= 300)");
        let b = format!("SELECT \"n0\" FROM duckherder_cache.main.b WHERE {id} < 900");
        assert_eq!((found.sql, found.missing), (format!("{a} UNION ALL {b}"), vec![]));
        // A group in which a later snapshot sees rows is none of an earlier one's.
        let found = pieces.find(&[wanted(&[1, 3], &[0])], "rest").unwrap();
        let a = format!("SELECT \"n0\" FROM duckherder_cache.main.a WHERE ({id} < 200 OR {id} >= 300 AND {id} < 400)");
        assert_eq!(found.sql, a);
    }

    #[test]
    fn any_may_be_missing_if_nobody_sees_the_order() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[2, 3], &[0]), 100);
        let scattered = StoredRows { in_any_order: true, ..wanted(&[1, 2, 5, 7], &[0]) };
        let found = pieces.find(std::slice::from_ref(&scattered), "rest").unwrap();
        let parts = "SELECT \"n0\" FROM rest UNION ALL SELECT \"n0\" FROM duckherder_cache.main.a WHERE \"duckherder row id\" < 300";
        assert_eq!((found.sql.as_str(), found.missing), (parts, vec![group(1), group(5), group(7)]));
        assert_eq!(pieces.missing(&scattered), [(vec![group(1), group(5), group(7)], named(&[0]))]);
    }

    #[test]
    fn what_is_missing_of_several_parts_is_read_once() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1, 2, 7], &[0]), 100);
        let part = |groups: &[u64], condition: &str| StoredRows {
            in_any_order: true,
            condition: condition.to_string(),
            ..wanted(groups, &[0])
        };
        let parts = [part(&[1, 2, 3], "k < 5"), part(&[3, 4, 7, 8], "k > 7")];
        let found = pieces.find(&parts, "rest").unwrap();
        let id = "\"duckherder row id\"";
        let expected = [
            format!("SELECT \"n0\" FROM duckherder_cache.main.a WHERE {id} < 700 AND k < 5"),
            format!("SELECT \"n0\" FROM rest WHERE {id} < 400 AND k < 5 OR k > 7"),
            format!("SELECT \"n0\" FROM duckherder_cache.main.a WHERE {id} >= 700 AND k > 7"),
        ];
        assert_eq!(found.sql, expected.join(" UNION ALL "));
        assert_eq!(found.missing, [group(3), group(4), group(8)]);
        assert!(pieces.find(&[part(&[5], ""), part(&[6], "")], "rest").is_none());
    }

    #[test]
    fn rows_are_found_in_several_pieces_or_not_at_all() {
        let mut pieces = Pieces::default();
        pieces.add(piece("a", &[1, 2, 3], &[0, 4]), 100);
        pieces.add(piece("b", &[4, 5], &[0, 4, 5]), 100);
        let sql = |pieces: &mut Pieces, wanted: &StoredRows| {
            pieces
                .find(std::slice::from_ref(wanted), "rest")
                .filter(|found| found.missing.is_empty())
                .map(|found| found.sql)
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
        let found = pieces.find(&[wanted(&[2, 3, 4, 5], &[0])], "rest").unwrap();
        let parts = "SELECT \"n0\" FROM duckherder_cache.main.a WHERE \"duckherder row id\" >= 200 UNION ALL \
                     SELECT \"n0\" FROM rest UNION ALL SELECT \"n0\" FROM duckherder_cache.main.b";
        assert_eq!((found.sql.as_str(), found.missing), (parts, vec![group(3), group(4)]));
        assert!(pieces.find(&[wanted(&[0, 1, 2, 3], &[0])], "rest").is_none());
        assert!(pieces.find(&[wanted(&[7, 8], &[0])], "rest").is_none());
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
        pieces.find(&[wanted(&[1], &[0])], "rest").unwrap();
        let read = pieces.find(&[wanted(&[2], &[0])], "rest").unwrap();
        pieces.find(&[wanted(&[1], &[0])], "rest").unwrap();
        assert_eq!(pieces.add(piece("c", &[3], &[0]), 25), ["a"]);
        drop(read);
        assert_eq!(pieces.add(piece("d", &[4], &[0]), 25), ["b"]);
        assert_eq!(pieces.bytes(), 20);
    }
}
