//! What a driver leaves behind: nothing. Alone in its process, whose threads are counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "driver/herd/mod.rs"]
mod herd;

use herd::Herd;

/// Names of this process's threads that run tasks.
fn task_threads() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("task-")).collect()
}

/// Tasks that nobody reads any more still hold the database for a moment; a process that ends then would crash.
#[test]
fn no_task_outlives_its_scheduler() {
    for round in 0..10 {
        let herd = Herd::new(4);
        herd.plain.execute("CREATE TABLE t AS SELECT range AS i, hash(range) AS h FROM range(500_000)").unwrap();
        let mut session = herd.session();
        // The driver stops reading after the first rows.
        let (rows, outcome) = session.query("SELECT h FROM t WHERE md5(h::VARCHAR) > '0' LIMIT 1").unwrap();
        assert_eq!((rows.len(), outcome.tasks), (1, 4), "round {round}");
        drop(session);
        drop(herd);
        assert_eq!(task_threads(), Vec::<String>::new(), "round {round}");
    }
}
