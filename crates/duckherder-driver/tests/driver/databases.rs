//! Several databases of one driver, and what of it outlives the process.

use std::path::PathBuf;

use duckherder_driver::{Driver, DriverOptions};
use duckherder_proto::actions::{DatabaseList, DropDatabase, Empty, ListDatabases, OpenDatabase};

use crate::common::Client;
use crate::herd::Herd;

/// A directory that goes with the test.
struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("duckherder-{}", uuid::Uuid::new_v4())))
    }

    fn driver(&self) -> Driver {
        let options =
            DriverOptions { listen: "127.0.0.1:0".to_string(), data: Some(self.0.clone()), ..Default::default() };
        Driver::start(options).unwrap()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn open(name: &str) -> OpenDatabase {
    OpenDatabase { name: name.to_string(), create_if_missing: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_work_in_the_database_that_they_name() {
    let data = Data::new();
    {
        let driver = data.driver();
        let client = Client::connect(&driver).await;
        client.act::<Empty>(open("Sales")).await.unwrap();
        let sales = client.in_database("sAles");
        sales.query("CREATE TABLE t AS SELECT 1::BIGINT AS i").await.unwrap();
        client.query("CREATE TABLE t AS SELECT 2::BIGINT AS i").await.unwrap();
        assert_eq!((sales.number("SELECT i FROM t").await, client.number("SELECT i FROM t").await), (1, 2));
        assert_eq!(client.number("SELECT a.i + b.i FROM t a, sales.main.t b").await, 3);
        let missing = client.in_database("nothing").query("SELECT 1").await.unwrap_err();
        assert_eq!(missing.exception_type, "Catalog");
        let used = client.act::<Empty>(DropDatabase { name: "sales".to_string() }).await.unwrap_err();
        assert!(used.message.contains("in use by 1 sessions"), "{used:?}");
        driver.stop();
    }
    let driver = data.driver();
    let client = Client::connect(&driver).await;
    let DatabaseList { databases } = client.act(ListDatabases {}).await.unwrap();
    let names: Vec<_> = databases.iter().map(|database| (database.name.as_str(), database.is_default)).collect();
    assert_eq!(names, [("duckherder", true), ("sales", false)]);
    assert_eq!(client.in_database("sales").number("SELECT i FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_is_gone() {
    let data = Data::new();
    let driver = data.driver();
    let client = Client::connect(&driver).await;
    client.act::<Empty>(open("a b")).await.unwrap();
    assert!(data.0.join("a%20b.duckdb").exists());
    client.act::<Empty>(DropDatabase { name: "A B".to_string() }).await.unwrap();
    assert!(!data.0.join("a%20b.duckdb").exists());
    let error = client.in_database("a b").query("SELECT 1").await.unwrap_err();
    assert!(error.message.contains("has no database \"a b\", only \"duckherder\""), "{error:?}");
}

#[test]
fn a_directory_has_one_driver() {
    let data = Data::new();
    let driver = data.driver();
    let options = DriverOptions { listen: "127.0.0.1:0".to_string(), data: Some(data.0.clone()), ..Default::default() };
    let error = Driver::start(options).err().unwrap().to_string();
    assert!(error.contains("is in use by another driver"), "{error}");
    drop(driver);
    data.driver();
}

#[test]
fn leftovers_of_a_crash_are_cleared_away() {
    let data = Data::new();
    std::fs::create_dir_all(&data.0).unwrap();
    let leftovers = ["gone.duckdb.wal", "s.duckdb.unfinished", "s.duckdb.dropped", "s.duckdb.unfinished.wal"];
    for name in leftovers {
        std::fs::write(data.0.join(name), "rest").unwrap();
    }
    data.driver();
    for name in leftovers {
        assert!(!data.0.join(name).exists(), "{name}");
    }
}

#[test]
fn tasks_read_the_snapshot_of_each_database() {
    let herd = Herd::new(4);
    herd.plain
        .execute(
            "ATTACH ':memory:' AS other;
             CREATE TABLE a AS SELECT i AS id, i AS v FROM range(300000) r(i);
             CREATE TABLE other.b AS SELECT i AS id, 1 AS v FROM range(300000) r(i)",
        )
        .unwrap();
    let mut session = herd.session();
    session.connection.execute("SET duckherder_distribution = 'always'; BEGIN").unwrap();
    let joined = "SELECT count(*), sum(a.v), sum(b.v) FROM a JOIN other.b ON a.id = b.id WHERE a.v >= 0";
    let one = "SELECT count(*), sum(v) FROM other.b WHERE v >= 0";
    let before = (session.query(joined).unwrap(), session.query(one).unwrap());
    assert_eq!((before.0.1.workers_used, before.1.1.workers_used), (4, 4));
    herd.plain.execute("UPDATE a SET v = v + 1; DELETE FROM a WHERE id < 1000").unwrap();
    herd.plain.execute("UPDATE other.b SET v = 2; INSERT INTO other.b SELECT i, 1 FROM range(500000) r(i)").unwrap();
    for (sql, before) in [(joined, before.0.0), (one, before.1.0)] {
        let (rows, outcome) = session.query(sql).unwrap();
        assert_eq!((rows, outcome.workers_used), (before, 4), "{sql}");
    }
    session.connection.execute("COMMIT").unwrap();
    herd.same(&mut session, joined);
    herd.same(&mut session, one);
}
