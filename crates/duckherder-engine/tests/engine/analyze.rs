//! EXPLAIN ANALYZE of a query whose tasks run elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::SchemaRef;
use duckherder_engine::distribute::{DistributedQuery, Distributor, Exchange, QueryRun, TaskOutput};
use duckherder_engine::{Database, EngineError};
use duckherder_planner::{Decision, Distribution, Plan, Workers, decide};

/// Tasks without rows, which report some time after these have been read.
#[derive(Default)]
struct Late {
    asked: AtomicUsize,
    reported: AtomicBool,
}

/// How often it is asked whether the tasks have ended before they have.
const ASKED: usize = 3;

struct LateTasks(Arc<Late>);

impl Distributor for LateTasks {
    fn decide(&self, plan: &Plan) -> Option<(Distribution, Arc<dyn DistributedQuery>)> {
        match decide(plan, Workers { local: 2, remote: 0 }) {
            Decision::Distributed(distribution) => Some((distribution, Arc::new(LateTasks(Arc::clone(&self.0))))),
            Decision::Local { .. } => None,
        }
    }

    fn stay(&self, reason: &str) {
        panic!("{reason}");
    }

    fn reason(&self) -> Option<String> {
        None
    }

    fn is_provisional(&self) -> bool {
        false
    }
}

impl DistributedQuery for LateTasks {
    fn may_be_kept(&self) -> bool {
        false
    }

    fn describe(&self, _top: usize, _fragments: &[String]) -> Vec<(String, String)> {
        let mut lines = vec![("Mode".to_string(), "of a test".to_string())];
        if self.0.reported.load(Ordering::SeqCst) {
            lines.extend((0..2).map(|task| (format!("Task {task}"), "has reported".to_string())));
        }
        lines
    }

    fn start(&self, _top: usize, _run: QueryRun) -> Result<Arc<dyn Exchange>, EngineError> {
        Ok(Arc::new(LateTasks(Arc::clone(&self.0))))
    }
}

impl Exchange for LateTasks {
    fn partitions(&self) -> usize {
        2
    }

    fn schema(&self) -> Result<SchemaRef, EngineError> {
        Err(EngineError::internal("no task sends batches"))
    }

    fn poll(&self, _partition: usize, _cx: &mut Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        Poll::Ready(Ok(TaskOutput::End { rows: 0 }))
    }

    fn ended(&self, _most: Duration) -> bool {
        let ended = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1 >= ASKED;
        self.0.reported.fetch_or(ended, Ordering::SeqCst);
        ended
    }
}

#[test]
fn tasks_that_end_after_their_rows_are_shown() {
    for threads in ["1", "4"] {
        let database = Database::open(":memory:", &[("threads", threads)]).unwrap();
        database.allow_distribution().unwrap();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE t AS SELECT range AS i FROM range(500000)").unwrap();
        let late = Arc::new(Late::default());
        connection.distribute(Arc::new(LateTasks(Arc::clone(&late)))).unwrap();
        let shown: String = connection
            .query("EXPLAIN ANALYZE SELECT i FROM t WHERE i % 3 = 1")
            .unwrap()
            .map(|batch| batch.unwrap().column(1).as_string::<i32>().value(0).to_string())
            .collect();
        assert!(shown.contains("Task 0") && shown.contains("Task 1"), "{shown}");
        // Whoever is not analyzed waits for nobody.
        assert_eq!(late.asked.load(Ordering::SeqCst), ASKED);
        assert_eq!(connection.query("SELECT i FROM t WHERE i % 3 = 1").unwrap().count(), 0);
        assert_eq!(late.asked.load(Ordering::SeqCst), ASKED);
    }
}
