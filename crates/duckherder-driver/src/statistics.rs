//! What the last queries cost, as `duckherder_get_query_execution_stats()` shows it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use duckherder_proto::actions::QueryStatistic;

use crate::distribute::ExecutionOutcome;
use crate::sync::lock;

/// How many queries are remembered.
const LIMIT: usize = 4096;
/// How long their texts may be, together; the last query is remembered in any case.
const LIMIT_BYTES: usize = 64 << 20;

/// The statistics of the last queries.
#[derive(Default)]
pub struct Statistics {
    remembered: Mutex<Remembered>,
}

/// Oldest first.
#[derive(Default)]
struct Remembered {
    queries: VecDeque<QueryStatistic>,
    sql_bytes: usize,
}

impl Remembered {
    fn add(&mut self, query: QueryStatistic) {
        self.sql_bytes += query.sql.len();
        self.queries.push_back(query);
        while self.queries.len() > LIMIT || (self.sql_bytes > LIMIT_BYTES && self.queries.len() > 1) {
            self.sql_bytes -= self.queries.pop_front().map_or(0, |oldest| oldest.sql.len());
        }
    }
}

/// One query that has begun.
pub struct Stopwatch {
    sql: String,
    started: Instant,
    started_us: i64,
}

impl Stopwatch {
    /// Starts to measure a query that the user wrote as `sql`.
    pub fn start(sql: String) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_us = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Self { sql, started: Instant::now(), started_us }
    }
}

impl Statistics {
    /// Remembers a query that has ended.
    pub fn record(&self, stopwatch: Stopwatch, outcome: ExecutionOutcome) {
        let duration_ms = i64::try_from(stopwatch.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        lock(&self.remembered).add(QueryStatistic {
            sql: stopwatch.sql,
            execution_mode: outcome.mode,
            merge_strategy: outcome.merge_strategy,
            duration_ms,
            workers_used: outcome.workers_used,
            tasks: outcome.tasks,
            started_us: stopwatch.started_us,
        });
    }

    /// The remembered queries, oldest first; with `clear` they are forgotten.
    pub fn list(&self, clear: bool) -> Vec<QueryStatistic> {
        let mut remembered = lock(&self.remembered);
        if clear {
            std::mem::take(&mut *remembered).queries.into()
        } else {
            remembered.queries.iter().cloned().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(sql: String) -> QueryStatistic {
        QueryStatistic { sql, ..QueryStatistic::default() }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut remembered = Remembered::default();
        for number in 0..LIMIT + 10 {
            remembered.add(query(format!("SELECT {number}")));
        }
        assert_eq!(remembered.queries.len(), LIMIT);
        assert_eq!(remembered.queries[0].sql, "SELECT 10");
    }

    #[test]
    fn long_texts_make_room_sooner() {
        let mut remembered = Remembered::default();
        for length in [1 << 20, LIMIT_BYTES / 2, LIMIT_BYTES / 2, LIMIT_BYTES + 1] {
            remembered.add(query("x".repeat(length)));
        }
        assert_eq!(remembered.queries.len(), 1, "one that is too long is remembered alone");
        remembered.add(query("SELECT 1".to_string()));
        assert_eq!((remembered.queries.len(), remembered.sql_bytes), (1, 8));
    }
}
