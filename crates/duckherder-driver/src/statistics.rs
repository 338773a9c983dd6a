//! What the last queries cost, as `duckherder_get_query_execution_stats()` shows it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use duckherder_proto::actions::QueryStatistic;

use crate::distribute::ExecutionOutcome;
use crate::sync::lock;

/// How many queries are remembered.
const LIMIT: usize = 4096;

/// The statistics of the last queries, oldest first.
#[derive(Default)]
pub struct Statistics {
    queries: Mutex<VecDeque<QueryStatistic>>,
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
        let mut queries = lock(&self.queries);
        if queries.len() == LIMIT {
            queries.pop_front();
        }
        queries.push_back(QueryStatistic {
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
        let mut queries = lock(&self.queries);
        if clear { std::mem::take(&mut *queries).into() } else { queries.iter().cloned().collect() }
    }
}
