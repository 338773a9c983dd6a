//! Databases that were not closed: their indexes have all rows, and nothing but them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use duckherder_engine::{Connection, Database};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::connections::{number, rows};

/// A folder with the files of a database, `a.duckdb`.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("duckherder-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("a.duckdb")
    }

    fn open(&self) -> Connection {
        Database::open(self.file().to_str().unwrap(), &[("threads", "2")]).unwrap().connect().unwrap()
    }

    /// As a power cut would leave it now.
    fn cut(&self, name: &str) -> Self {
        let copy = Self::new(name);
        // In this order, a log has nothing that its database lacks.
        for suffix in [".wal.checkpoint", ".wal", ""] {
            let name = format!("a.duckdb{suffix}");
            if self.0.join(&name).exists() {
                fs::copy(self.0.join(&name), copy.0.join(&name)).unwrap();
            }
        }
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Tables `t`, with an index, of 1000 rows, and `other`, in the file.
fn set_up(connection: &Connection) {
    connection
        .execute(
            "CREATE TABLE t AS SELECT i AS id, 'v' || i AS v FROM range(1000) r(i); CREATE INDEX by_v ON t(v);
             CREATE TABLE other(id BIGINT, v VARCHAR); CHECKPOINT",
        )
        .unwrap();
}

fn host() -> Connection {
    Database::open(":memory:", &[("threads", "2")]).unwrap().connect().unwrap()
}

/// In one instance the database is the first one, in the others one more: attached by the driver, or by a user.
fn opened(folder: &Folder) -> [(Connection, Folder); 3] {
    let [first, second, third] = ["first", "second", "third"].map(|name| folder.cut(name));
    let (host, other) = (host(), host());
    host.attach(second.file().to_str().unwrap(), "a").unwrap();
    rows(&other, &format!("ATTACH '{}' AS a", third.file().display())).unwrap();
    [(first.open(), first), (host, second), (other, third)]
}

/// A database whose process ended while it wrote a checkpoint, with deletions in the log before, and rows in both.
fn cut_in_checkpoint(name: &str) -> Folder {
    let folder = Folder::new(name);
    let before = folder.open();
    set_up(&before);
    let (reader, other) = (before.database().connect().unwrap(), before.database().connect().unwrap());
    // With a reader of what was before, others may write during a checkpoint.
    reader.execute("BEGIN; SELECT count(*) FROM t").unwrap();
    before
        .execute("DELETE FROM t WHERE id % 13 = 0; INSERT INTO t SELECT i, 'v' || i FROM range(1000, 1100) r(i)")
        .unwrap();
    before.execute("SET GLOBAL debug_checkpoint_sleep_ms = 5000").unwrap();
    let checkpoint = std::thread::spawn(move || before.execute("CHECKPOINT").unwrap());
    let begun = Instant::now();
    while !Path::exists(&folder.0.join("a.duckdb.wal.checkpoint")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint");
        other.execute("INSERT INTO other VALUES (1, 'v')").unwrap();
    }
    other.execute("INSERT INTO t SELECT i, 'v' || i FROM range(2000, 2010) r(i)").unwrap();
    let cut = folder.cut(&format!("{name}-cut"));
    checkpoint.join().unwrap();
    cut
}

#[test]
fn a_commit_elsewhere_leaves_an_index_its_rows() {
    let folder = Folder::new("replayed");
    let before = folder.open();
    set_up(&before);
    before.execute("INSERT INTO t SELECT i, 'v' || i FROM range(1000, 2000) r(i)").unwrap();
    for (connection, folder) in opened(&folder) {
        connection.execute("SET checkpoint_threshold = '1KB'").unwrap();
        connection.execute("INSERT INTO a.other SELECT i, 'v' || i FROM range(50000) r(i)").unwrap();
        assert!(!folder.0.join("a.duckdb.wal").exists(), "no checkpoint");
        let cut = folder.cut("after");
        let after = cut.open();
        assert_eq!(rows(&after, "SELECT * FROM t WHERE v = 'v1500'").unwrap(), 1);
        after.execute("DELETE FROM t WHERE id >= 500").unwrap();
        assert_eq!(number(&after, "SELECT count(*) FROM t"), 500);
    }
}

#[test]
fn an_end_in_a_checkpoint_leaves_an_index_its_rows() {
    for (connection, folder) in opened(&cut_in_checkpoint("checkpoint")) {
        for cut in [None, Some(folder.cut("later").open())] {
            let connection = cut.as_ref().unwrap_or(&connection);
            for (v, count) in [("v13", 0), ("v14", 1), ("v1050", 1), ("v2005", 1)] {
                assert_eq!(rows(connection, &format!("FROM a.t WHERE v = '{v}'")).unwrap(), count, "{v}");
            }
        }
        connection.execute("DELETE FROM a.t WHERE id < 500").unwrap();
        assert_eq!(number(&connection, "SELECT count(*) FROM a.t"), 572);
        assert!(number(&connection, "SELECT count(*) FROM a.other") > 0);
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        *self.0.lock().unwrap() += &format!("{field}={value:?}\n");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// DuckDB's own ATTACH replays the two logs as it does.
#[test]
fn the_log_tells_where_an_internal_error_comes_from() {
    let folder = cut_in_checkpoint("internal");
    let host = host();
    host.execute(&format!("ATTACH '{}' AS a", folder.file().display())).unwrap();
    let log = Log::default();
    let failed = tracing::subscriber::with_default(log.clone(), || host.execute("DELETE FROM a.t WHERE id < 500"));
    let error = failed.unwrap_err();
    assert_eq!(error.exception_type, "INTERNAL");
    assert!(!error.message.contains("Stack Trace"), "{error}");
    let log = log.0.lock().unwrap();
    assert!(log.contains(&error.message) && log.contains("trace=") && log.contains("0x"), "{log}");
}

/// DuckDB's own ATTACH leaves the index of one with what it can't do, as above.
#[test]
fn what_was_attached_before_is_none_of_an_attachs_business() {
    let (broken, whole) = (cut_in_checkpoint("broken"), Folder::new("whole"));
    set_up(&whole.open());
    let host = host();
    host.execute(&format!("ATTACH '{}' AS a", broken.file().display())).unwrap();
    rows(&host, &format!("ATTACH '{}' AS b", whole.file().display())).unwrap();
    assert_eq!(number(&host, "SELECT count(*) FROM b.t"), 1000);
    // Which has the indexes of all databases do what they can.
    assert!(host.load_extension("json").is_err(), "there is nothing wrong with the first one");
}
