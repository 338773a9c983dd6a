//! There is one writer, and what it was told is durable stays so.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use duckherder_storage::{OpenMode, Options, Reader, StorageError, Store, Version};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Far, Fault, location, memory, objects, open, options};

const MAKE: OpenMode = OpenMode { create: true, truncate: false };

fn append(store: &Store, number: u64) -> Result<(), StorageError> {
    let file = store.open_file("wal", MAKE)?.unwrap();
    file.write(number * 8, &number.to_be_bytes())?;
    file.sync()?;
    store.wait_durable()
}

/// The numbers that are there: all up to some.
fn count(store: &Store) -> u64 {
    let bytes = store.read_file("wal").unwrap().unwrap_or_default();
    for (number, found) in bytes.chunks(8).enumerate() {
        assert_eq!(found, (number as u64).to_be_bytes());
    }
    bytes.len() as u64 / 8
}

#[test]
fn the_second_shuts_out_the_first() {
    let bucket = memory();
    let first = Store::open(location(&bucket), Options { writer_name: "the first".to_string(), ..options() }).unwrap();
    append(&first, 0).unwrap();
    let failure = first.failure();
    let second =
        Store::open(location(&bucket), Options { writer_name: "the second".to_string(), ..options() }).unwrap();
    let error = append(&first, 1).unwrap_err().to_string();
    assert!(error.contains("another driver (the second) has taken over test://place"), "{error}");
    assert!(matches!(first.read_file("wal"), Err(StorageError::Fenced { .. })));
    assert!(matches!(first.close(), Err(StorageError::Fenced { .. })));
    let told = tokio::runtime::Runtime::new().unwrap().block_on(failure);
    assert!(matches!(told, StorageError::Fenced { .. }));
    append(&second, 1).unwrap();
    assert_eq!(count(&second), 2);
}

#[test]
fn a_writer_that_writes_nothing_hears_of_it() {
    let bucket = memory();
    let first = open(&bucket);
    let second = open(&bucket);
    append(&second, 0).unwrap();
    let begun = Instant::now();
    while first.exists("wal").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nothing_is_lost_to_writers_that_take_turns() {
    let bucket: Arc<dyn ObjectStore> = Far::new(memory(), Duration::from_millis(2), 11);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            let store = open(&bucket);
            let found = count(&store);
            assert!(found >= acknowledged.load(Ordering::SeqCst), "{found} of {acknowledged:?} are there");
            let acknowledged = &acknowledged;
            // Each goes on until the next takes over.
            scope.spawn(move || {
                let mut number = found;
                while append(&store, number).is_ok() {
                    number += 1;
                    acknowledged.fetch_max(number, Ordering::SeqCst);
                    if number > 20_000 {
                        return;
                    }
                }
            });
            let begun = Instant::now();
            while acknowledged.load(Ordering::SeqCst) < found + 5 && begun.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let last = open(&bucket);
        assert!(count(&last) >= acknowledged.load(Ordering::SeqCst));
    });
    assert!(acknowledged.load(Ordering::SeqCst) > 20);
}

/// The first writer stands still for so long that what shut it out has been removed.
#[test]
fn a_writer_that_stood_still_looks_for_others() {
    let bucket = memory();
    let first = Store::open(location(&bucket), Options { proof: Duration::ZERO, ..options() }).unwrap();
    append(&first, 0).unwrap();
    let second = open(&bucket);
    append(&second, 1).unwrap();
    second.close().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, _) in objects(&bucket).into_iter().filter(|(name, _)| name.contains("/log/")) {
        runtime.block_on(bucket.delete(&Path::from(name))).unwrap();
    }
    assert!(matches!(append(&first, 1), Err(StorageError::Fenced { .. })));
    assert_eq!(count(&open(&bucket)), 2);
}

/// While it reads the log, the writer goes on, and what it writes then is removed, since there is a manifest: the object
/// after those that were found can be created anew, and takes nothing over.
#[test]
fn a_log_that_went_on_while_it_was_read_is_read_again() {
    let bucket = memory();
    let first = open(&bucket);
    (0..3).for_each(|number| append(&first, number).unwrap());
    let far = Far::new(Arc::clone(&bucket), Duration::from_millis(700), 0);
    let slow: Arc<dyn ObjectStore> = Arc::<Far>::clone(&far);
    let found = std::thread::scope(|scope| {
        let second = scope.spawn(|| count(&Store::open(location(&slow), options()).unwrap()));
        // The manifests, the last of them, the names of the log's objects.
        while far.requests() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let listed = objects(&bucket);
        (3..6).for_each(|number| append(&first, number).unwrap());
        first.close().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (name, _) in objects(&bucket).into_iter().filter(|(name, _)| name.contains("/log/")) {
            if listed.iter().all(|(before, _)| *before != name) {
                runtime.block_on(bucket.delete(&Path::from(name))).unwrap();
            }
        }
        second.join().unwrap()
    });
    assert_eq!(found, 6);
}

/// As S3 says while another request for the same object is on its way: nobody has written it.
#[test]
fn a_conflict_without_an_object_is_no_successor() {
    let far = Far::new(memory(), Duration::ZERO, 0);
    let bucket: Arc<dyn ObjectStore> = Arc::<Far>::clone(&far);
    let store = open(&bucket);
    append(&store, 0).unwrap();
    far.fail(Fault::Conflict, 3);
    append(&store, 1).unwrap();
    assert_eq!(count(&open(&bucket)), 2);
}

/// While credentials are replaced, or a clock is wrong, which ends; what is wrong from the start is said at once.
#[test]
fn a_storage_that_refuses_a_writer_is_asked_again() {
    let far = Far::new(memory(), Duration::ZERO, 0);
    let bucket: Arc<dyn ObjectStore> = Arc::<Far>::clone(&far);
    far.fail(Fault::Forbidden, 1);
    let begun = Instant::now();
    let error = Store::open(location(&bucket), options()).err().unwrap().to_string();
    assert!(error.contains("as the storage says") && begun.elapsed() < Duration::from_secs(5), "{error}");
    let store = open(&bucket);
    append(&store, 0).unwrap();
    far.fail(Fault::Forbidden, 3);
    append(&store, 1).unwrap();
    assert_eq!(count(&open(&bucket)), 2);
}

#[test]
fn commits_that_come_together_share_a_request() {
    let bucket: Arc<dyn ObjectStore> = Far::new(memory(), Duration::from_millis(30), 0);
    let store = open(&bucket);
    append(&store, 0).unwrap();
    let before = store.requests().puts;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let store = &store;
            scope.spawn(move || {
                let file = store.open_file(&format!("wal {thread}"), MAKE).unwrap().unwrap();
                for number in 0..10u64 {
                    file.write(number * 8, &number.to_be_bytes()).unwrap();
                    file.sync().unwrap();
                    store.wait_durable().unwrap();
                }
            });
        }
    });
    let (puts, took) = (store.requests().puts - before, begun.elapsed());
    println!("160 commits of 16 threads: {puts} requests, {took:?}");
    assert!(puts <= 40, "{puts} requests for 160 commits");
    let mut times: Vec<_> = (1..40)
        .map(|number| {
            let begun = Instant::now();
            append(&store, number).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("one commit after the other, p50: {:?}", times[times.len() / 2]);
}

#[test]
fn a_storage_that_is_gone_fails_the_store() {
    let refused: Arc<dyn ObjectStore> = Far::new(memory(), Duration::ZERO, 1);
    let patience = Duration::from_millis(300);
    let error = Store::open(location(&refused), Options { patience, ..options() }).err().unwrap().to_string();
    assert!(error.starts_with("cannot create log/00000000000000000001 in test://place: "), "{error}");
}

#[test]
fn many_commits_make_a_manifest_and_logs_stay_short() {
    let bucket = memory();
    let store = open(&bucket);
    for number in 0..700 {
        append(&store, number).unwrap();
    }
    drop(store);
    let manifests: Vec<_> = objects(&bucket).into_iter().filter(|(name, _)| name.contains("/manifests/")).collect();
    let last = manifests.last().unwrap().0.as_str();
    assert!(last > "some/prefix/manifests/00000000000000000500", "{manifests:?}");
    let store = open(&bucket);
    assert_eq!(count(&store), 700);
    let gets = store.requests().gets;
    assert!(gets < 260, "{gets} requests to open");
}

#[test]
fn pinned_versions_stay() {
    let bucket = memory();
    let store = Store::open(location(&bucket), Options { keep: Duration::ZERO, ..options() }).unwrap();
    let large = |value: u8| vec![value; 4 << 20];
    store.write_file("db", &large(1)).unwrap();
    let packs = || objects(&bucket).into_iter().filter(|(name, _)| name.contains("/packs/")).count();
    let pin = store.pin();
    assert_eq!(pin.version(), store.version());
    store.write_file("db", &large(2)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(packs(), 2);
    drop(pin);
    let begun = Instant::now();
    while packs() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(store.read_file("db").unwrap().unwrap(), large(2));
    assert_eq!(store.space().live_bytes, 4 << 20);
}

#[test]
fn readers_see_one_version_while_the_writer_goes_on() {
    let bucket = memory();
    let store = open(&bucket);
    append(&store, 0).unwrap();
    let pin = store.pin();
    for number in 1..600 {
        append(&store, number).unwrap();
    }
    store.write_file("large", &vec![7; 9 << 20]).unwrap();
    let reader = Reader::open(location(&bucket), Some(pin.version()), options()).unwrap();
    assert_eq!(
        (reader.version(), reader.names(), reader.length("wal")),
        (pin.version(), vec!["wal".to_string()], Some(8))
    );
    let last = Reader::open(location(&bucket), None, options()).unwrap();
    assert_eq!((last.version(), last.length("wal")), (store.version(), Some(4800)));
    let mut read = vec![0; 9 << 20];
    assert_eq!(last.read("large", 1, &mut read).unwrap(), (9 << 20) - 1);
    assert!(read[..(9 << 20) - 1].iter().all(|byte| *byte == 7));
    assert!(last.read("none", 0, &mut read).unwrap_err().to_string().contains("there is no file none"));
    append(&store, 600).unwrap();
    let later = Version(store.version().0 + 1);
    let error = Reader::open(location(&bucket), Some(later), options()).err().unwrap().to_string();
    assert!(error.contains("is not what a driver has written there: it is missing"), "{error}");
}

#[test]
fn a_storage_that_overwrites_is_refused() {
    let careless: Arc<dyn ObjectStore> = Far::careless(memory());
    let error = Store::open(location(&careless), options()).err().unwrap().to_string();
    let expected = "the storage of test://place creates an object that is there already (it has no conditional writes)";
    assert!(error.contains(expected), "{error}");
}
