//! What workers elsewhere keep of the driver's tables, as their tasks show, and what it has cost that they don't.
//!
//! A query may be faster on workers that have its tables, and slower on those that get them first: it stays on the driver,
//! and what it loses by that is put down to the tables. Once as much is lost as sending them takes, they are sent, with
//! the query, and kept from then on. So nobody waits more than twice as long as one who had known what will be asked. If
//! it was in vain, since the rows change all the time or are more than caches take, twice as much has to be lost before
//! it is tried again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use duckherder_planner::plan::Scan;
use duckherder_planner::{Plan, Prospect};

use crate::sync::lock;

/// Tables that are remembered; more are those that are gone.
const MOST_TABLES: usize = 4096;
/// What a table's columns are awaited for at once; more are forgotten.
const MOST_AWAITED: usize = 64;
/// How often the price of sending a table doubles.
const MOST_DOUBLINGS: u32 = 10;
/// The part of a table that workers may have had to be sent though they kept it, as for rows that were appended.
const FEW: f64 = 0.5;
/// The part of what workers were sent that they must have fetched to be kept, at least.
const NEARLY_ALL: f64 = 0.9;
/// How long a worker may take at least to write what it has fetched.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// Queries that may be sent it meanwhile.
const SENT_MEANWHILE: u32 = 4;
/// Stands for the columns of a scan that reads none.
const NO_COLUMN: u64 = u64::MAX;

/// What is known of the caches of all workers elsewhere together.
#[derive(Default)]
pub struct Caches {
    tables: Mutex<HashMap<String, Table>>,
    has_fetched: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    /// The part of the rows that is kept, by the number of the column, and whether workers read the whole table each.
    kept: HashMap<(u64, bool), f64>,
    /// Microseconds that queries took longer for want of it, since it was sent last.
    lost_us: f64,
    /// How often it was sent and not kept, since it was kept last.
    in_vain: u32,
    /// Rows that workers have ever fetched to keep them.
    fetched: u64,
    /// What was sent to tasks and is not kept yet: workers fetch it once more.
    awaited: Vec<Awaited>,
    /// What workers have fetched last.
    arrived: Option<Arrived>,
    /// Tasks among workers, where one has several: as long as these are the same, so is what each reads.
    rounds: Option<(u64, u64)>,
}

/// From when on workers have what they fetched, until when they may be writing it, and how many queries may be sent it
/// meanwhile.
#[derive(Debug)]
struct Arrived {
    at: Instant,
    written_by: Instant,
    sent_meanwhile: u32,
}

#[derive(Debug)]
struct Awaited {
    read: TableRead,
    since: Instant,
    /// When the task that was sent it had ended.
    noted: Instant,
    /// What [`Table::fetched`] is then, at least.
    complete_at: u64,
}

/// What a scan of a plan reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScanOfTable {
    table: String,
    columns: Vec<u64>,
}

/// How tasks read a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableRead {
    pub scan: ScanOfTable,
    /// Each of several tasks all of its rows.
    pub whole: bool,
}

/// The rows that tasks elsewhere read in one run of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsRead {
    pub all: u64,
    /// Those of them that the driver had to send.
    pub sent: u64,
}

impl ScanOfTable {
    /// `None`: workers don't keep what the scan reads.
    pub fn of(scan: &Scan) -> Option<Self> {
        let columns = if scan.columns.is_empty() { vec![NO_COLUMN] } else { scan.columns.clone() };
        (!scan.table.is_empty()).then(|| Self { table: scan.table.clone(), columns })
    }
}

impl Table {
    /// The part of the rows that is kept with all of these columns.
    fn kept(&self, columns: &[u64], whole: bool) -> f64 {
        let kept = |column: &u64| self.kept.get(&(*column, whole)).copied().unwrap_or(0.0);
        columns.iter().map(kept).fold(1.0, f64::min)
    }

    /// Who has all rows has those of its own.
    fn keep(&mut self, read: &TableRead, part: f64) {
        let ways = [Some(read.whole), Some(false).filter(|_| read.whole && part == 1.0)];
        for way in ways.into_iter().flatten() {
            self.kept.extend(read.scan.columns.iter().map(|column| ((*column, way), part)));
        }
    }

    /// Whether a query that began then may have been sent what is kept since, or is just being written.
    fn was_too_early(&mut self, begun: Instant) -> bool {
        let Some(arrived) = &mut self.arrived else { return false };
        if begun <= arrived.at {
            return true;
        }
        let writing = begun < arrived.written_by && arrived.sent_meanwhile < SENT_MEANWHILE;
        arrived.sent_meanwhile += u32::from(writing);
        writing
    }

    /// Takes note of what was awaited if it has come.
    fn wait_for(&mut self, awaited: Awaited) {
        if self.fetched < awaited.complete_at {
            self.awaited.truncate(MOST_AWAITED - 1);
            return self.awaited.push(awaited);
        }
        self.keep(&awaited.read, 1.0);
        let at = Instant::now();
        // Who took long to fetch it takes long to write it.
        let written_by = at + awaited.since.elapsed().max(WRITTEN_WITHIN);
        self.arrived = Some(Arrived { at, written_by, sent_meanwhile: 0 });
    }
}

/// What is known of a table; too many are forgotten before.
fn known_table<'a>(tables: &'a mut HashMap<String, Table>, name: &str) -> &'a mut Table {
    if tables.len() >= MOST_TABLES && !tables.contains_key(name) {
        tables.clear();
    }
    tables.entry(name.to_string()).or_default()
}

impl Caches {
    /// Tells the plan what of its tables is kept.
    pub fn look(&self, plan: &mut Plan) {
        let tables = lock(&self.tables);
        for scan in plan.root.preorder_scans_mut() {
            let Some(read) = ScanOfTable::of(scan) else { continue };
            let kept = |whole| tables.get(&read.table).map_or(0.0, |table| table.kept(&read.columns, whole));
            (scan.cached, scan.cached_whole) = (kept(false), kept(true));
        }
    }

    /// The plan would stay on the driver for want of tables in caches: whether as much was lost by that, with this query,
    /// as sending them takes.
    pub fn worth_sending(&self, plan: &Plan, prospect: &Prospect) -> bool {
        let scans = plan.root.preorder_scans();
        let missing: Vec<(ScanOfTable, f64)> = scans
            .into_iter()
            .filter_map(|(_, scan)| {
                let kept = scan.cached.min(scan.cached_whole);
                let bytes = scan.rows as f64 * scan.row_bytes.unwrap_or(1) as f64 * (1.0 - kept);
                Some((ScanOfTable::of(scan)?, bytes)).filter(|_| kept < 1.0)
            })
            .collect();
        let mut tables = lock(&self.tables);
        let all: f64 = missing.iter().map(|(_, bytes)| bytes).sum();
        let mut names: Vec<&str> = missing.iter().map(|(read, _)| read.table.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for (read, bytes) in &missing {
            let table = known_table(&mut tables, &read.table);
            table.lost_us += prospect.gain_us as f64 * bytes / all.max(1.0);
        }
        let known = || names.iter().filter_map(|name| tables.get(*name));
        let lost: f64 = known().map(|table| table.lost_us).sum();
        let doubled = known().map(|table| table.in_vain).max().unwrap_or(0).min(MOST_DOUBLINGS);
        if lost < prospect.fetch_us as f64 * f64::from(1_u32 << doubled) {
            return false;
        }
        for name in names {
            if let Some(table) = tables.get_mut(name) {
                table.lost_us = 0.0;
            }
        }
        true
    }

    /// A worker has fetched rows of a table (its qualified name, as SQL) to keep them.
    pub fn note_fetched(&self, table: &str, rows: u64) {
        self.has_fetched.store(true, Ordering::Relaxed);
        let mut tables = lock(&self.tables);
        let table = known_table(&mut tables, table);
        table.fetched += rows;
        for awaited in std::mem::take(&mut table.awaited) {
            table.wait_for(awaited);
        }
    }

    /// Whether workers have ever fetched anything to keep it.
    pub fn has_fetched(&self) -> bool {
        self.has_fetched.load(Ordering::Relaxed)
    }

    /// How many tasks among how many workers read the table, where a worker has several. `stays`: as before, if that is
    /// not far from what is planned now.
    pub fn rounds(&self, read: &ScanOfTable, planned: (u64, u64), stays: bool) -> (u64, u64) {
        let mut tables = lock(&self.tables);
        let table = known_table(&mut tables, &read.table);
        let is_near = |(tasks, workers): &(u64, u64)| {
            let (before, now) = (tasks * planned.1, planned.0 * workers);
            before <= now * 2 && now <= before * 2
        };
        let rounds = table.rounds.filter(|rounds| stays && is_near(rounds)).unwrap_or(planned);
        table.rounds = Some(rounds);
        rounds
    }

    /// How many rows of the table workers have ever fetched to keep them.
    pub fn fetched(&self, read: &ScanOfTable) -> u64 {
        lock(&self.tables).get(&read.table).map_or(0, |table| table.fetched)
    }

    /// Tasks elsewhere have read a table, of which workers had [`fetched`](Self::fetched) so much `before`. Whether they
    /// were sent what they seemed to keep: who relied on that should think again.
    pub fn learn(&self, read: &TableRead, rows: RowsRead, before: (Instant, u64)) -> bool {
        if rows.all == 0 {
            return false;
        }
        let mut tables = lock(&self.tables);
        let table = known_table(&mut tables, &read.scan.table);
        let sent = (rows.sent as f64 / rows.all as f64).min(1.0);
        let believed = table.kept(&read.scan.columns, read.whole);
        tracing::debug!(?read, ?rows, believed, "tasks have read a table");
        let (since, fetched) = before;
        let complete_at = fetched + (rows.sent as f64 * NEARLY_ALL) as u64;
        let awaited = Awaited { read: read.clone(), since, noted: Instant::now(), complete_at };
        let place = table.awaited.iter().position(|other| other.read == *read);
        if rows.sent == 0 {
            table.awaited.retain(|other| other.read != *read);
            table.keep(read, 1.0);
            (table.in_vain, table.lost_us) = (0, 0.0);
        } else if believed < 1.0 - FEW {
            match place {
                // Both were sent it at once.
                Some(place) if since <= table.awaited[place].noted => {}
                // What was sent before has not come to be kept.
                Some(place) => {
                    table.in_vain += 1;
                    table.awaited.remove(place);
                    table.wait_for(awaited);
                }
                None => table.wait_for(awaited),
            }
        } else if !table.was_too_early(since) {
            table.keep(read, 1.0 - sent);
            if sent > FEW {
                (table.in_vain, table.lost_us) = (table.in_vain + 1, 0.0);
                return true;
            }
            table.wait_for(awaited);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use duckherder_planner::{Capacity, Decision, Workers, decide, once_cached};

    const CAPACITY: Capacity = Capacity { workers: Workers { local: 0, remote: 4 }, remote_threads: 4 };

    /// A join of a large table with a small one.
    fn plan() -> Plan {
        let scan = |id: u64, rows: u64| {
            format!(
                r#"{{"id":{id},"operator":"GET","estimated_rows":{rows},"row_bytes":16,"operations":1,"scan":{{
                "name":"t{id}","table":"memory.main.t{id}","columns":[0,1],"rows":{rows},"row_bytes":16,
                "shared_table":true,"virtual_columns":false,"sampled":false,"index_lookup":false}}}}"#
            )
        };
        let text = format!(
            r#"{{"has_written":false,"threads":2,"root":{{"id":0,"operator":"AGGREGATE","estimated_rows":1,
            "aggregate":{{"groups":0,"grouping_sets":false,"calls":[]}},"children":[{{"id":1,
            "operator":"COMPARISON_JOIN","join":{{"type":"INNER"}},"keys":[[{{}}],[{{}}]],"row_bytes":32,
            "estimated_rows":20000000,"operations":1,"children":[{},{}]}}]}}}}"#,
            scan(2, 20_000_000),
            scan(3, 1000)
        );
        serde_json::from_str(&text).unwrap()
    }

    /// How tasks read its larger table.
    fn large() -> TableRead {
        let plan = plan();
        let (_, scan) = plan.root.preorder_scans()[0];
        TableRead { scan: ScanOfTable::of(scan).unwrap(), whole: false }
    }

    /// How many times the query stays on the driver before its tables are sent.
    fn patience(caches: &Caches) -> u32 {
        let mut waited = 0;
        loop {
            let mut plan = plan();
            caches.look(&mut plan);
            assert!(matches!(decide(&plan, CAPACITY), Decision::Local { .. }));
            let prospect = once_cached(&plan, CAPACITY).unwrap();
            if caches.worth_sending(&plan, &prospect) {
                return waited;
            }
            waited += 1;
        }
    }

    fn learn(caches: &Caches, sent: u64) -> bool {
        let read = large();
        caches.learn(&read, RowsRead { all: 100, sent }, (Instant::now(), caches.fetched(&read.scan)))
    }

    /// A worker fetches rows and has written them.
    fn fetch(caches: &Caches, rows: u64) {
        caches.note_fetched("memory.main.t2", rows);
        lock(&caches.tables).values_mut().for_each(|table| table.arrived = None);
    }

    fn is_local(caches: &Caches) -> bool {
        let mut plan = plan();
        caches.look(&mut plan);
        matches!(decide(&plan, CAPACITY), Decision::Local { .. })
    }

    #[test]
    fn tables_are_sent_once_as_much_is_lost_and_stay() {
        let caches = Caches::default();
        let prospect = once_cached(&plan(), CAPACITY).unwrap();
        let waited = u64::from(patience(&caches)) + 1;
        assert!(waited > 1 && waited * prospect.gain_us >= prospect.fetch_us, "{waited} {prospect:?}");
        assert!((waited - 2) * prospect.gain_us < prospect.fetch_us, "{waited} {prospect:?}");
        assert!(!learn(&caches, 100));
        fetch(&caches, 60);
        assert!(is_local(&caches), "a part is missing");
        fetch(&caches, 40);
        assert!(!is_local(&caches));
        assert!(!learn(&caches, 0) && !is_local(&caches));
        // Some rows are appended.
        assert!(!learn(&caches, 1) && !is_local(&caches));
    }

    #[test]
    fn what_is_just_written_is_not_missed() {
        let caches = Caches::default();
        learn(&caches, 100);
        caches.note_fetched("memory.main.t2", 100);
        assert!(!learn(&caches, 100) && !is_local(&caches));
    }

    #[test]
    fn what_is_sent_in_vain_is_sent_less_and_less_often() {
        let caches = Caches::default();
        let mut waited = patience(&caches);
        for _ in 0..3 {
            assert!(!learn(&caches, 100));
            fetch(&caches, 100);
            assert!(!is_local(&caches));
            assert!(learn(&caches, 100), "it was believed to be kept");
            assert!(is_local(&caches));
            let now = patience(&caches);
            assert!(now > waited * 3 / 2, "{waited} {now}");
            waited = now;
        }
        learn(&caches, 0);
        learn(&caches, 100);
        assert!(patience(&caches) < waited);
    }

    /// The task that was sent the rows ends later than that.
    #[test]
    fn what_is_fetched_early_is_kept() {
        let caches = Caches::default();
        let read = large();
        let before = (Instant::now(), caches.fetched(&read.scan));
        fetch(&caches, 100);
        assert!(!caches.learn(&read, RowsRead { all: 100, sent: 100 }, before) && !is_local(&caches));
    }

    #[test]
    fn queries_that_ran_at_once_tell_the_same() {
        let caches = Caches::default();
        let read = large();
        let before = (Instant::now(), caches.fetched(&read.scan));
        let all_learn = || (0..8).any(|_| caches.learn(&read, RowsRead { all: 100, sent: 100 }, before));
        assert!(!all_learn() && is_local(&caches));
        caches.note_fetched("memory.main.t2", 100);
        assert!(!all_learn() && !is_local(&caches));
        assert_eq!(lock(&caches.tables).values().map(|table| table.in_vain).max(), Some(0));
    }

    /// By workers that have no room for it, say.
    #[test]
    fn what_is_never_fetched_is_sent_less_and_less_often() {
        let caches = Caches::default();
        let mut waited = patience(&caches);
        learn(&caches, 100);
        for _ in 0..3 {
            patience(&caches);
            learn(&caches, 100);
            let now = patience(&caches);
            assert!(now > waited, "{waited} {now}");
            waited = now;
        }
    }

    #[test]
    fn other_columns_are_others() {
        let caches = Caches::default();
        learn(&caches, 100);
        fetch(&caches, 100);
        assert!(!is_local(&caches));
        let mut other = plan();
        other.root.preorder_scans_mut()[0].columns = vec![1, 2];
        caches.look(&mut other);
        assert!(other.root.preorder_scans().iter().all(|(_, scan)| scan.cached == 0.0));
    }
}
