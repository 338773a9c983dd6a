//! Whoever waits for a writer's place gets it once, from a writer that is gone, and from no other.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use duckherder_storage::{OpenMode, Options, Sign, StorageError, Store, Watch};
use object_store::ObjectStore;
use support::{Far, location, memory, objects, open, options};

fn watch(bucket: &Arc<dyn ObjectStore>) -> Watch {
    Watch::new(location(bucket), Duration::from_secs(5)).unwrap()
}

fn last(watch: &Watch) -> Sign {
    watch.look(None).unwrap().unwrap()
}

fn take(watch: &mut Watch, bucket: &Arc<dyn ObjectStore>, sign: &Sign) -> Option<Store> {
    watch.take_over(Some(sign), location(bucket), options()).unwrap()
}

fn append(store: &Store, text: &str) -> Result<(), StorageError> {
    let file = store.open_file("file", OpenMode { create: true, truncate: false })?.unwrap();
    file.write(file.length()?, text.as_bytes())?;
    file.sync()?;
    store.wait_durable()
}

fn content(store: &Store) -> String {
    String::from_utf8(store.read_file("file").unwrap().unwrap_or_default()).unwrap()
}

#[test]
fn a_silent_writer_is_shut_out() {
    let bucket = memory();
    let mut waiting = watch(&bucket);
    assert_eq!(waiting.look(None).unwrap(), None);
    let about = "the first".to_string();
    let first = Store::open(location(&bucket), Options { about, ..options() }).unwrap();
    append(&first, "a").unwrap();
    let sign = last(&waiting);
    assert_eq!((sign.about.as_str(), sign.epoch, sign.left), ("the first", first.epoch(), false));
    // Nobody has told it that somebody waits, so it shows the same all the time.
    let second = take(&mut waiting, &bucket, &sign).unwrap();
    assert!(matches!(append(&first, "b"), Err(StorageError::Fenced { .. })));
    assert!(matches!(first.is_sure(), Err(StorageError::Fenced { .. })));
    append(&second, "c").unwrap();
    assert_eq!(content(&second), "ac");
    assert_eq!(second.place(), first.place());
    assert!(second.epoch() > first.epoch());
    assert_ne!(open(&memory()).place(), first.place());
    assert_eq!(last(&waiting).epoch, second.epoch());
}

#[test]
fn of_two_that_come_to_a_new_place_one_gets_it() {
    let bucket = memory();
    let barrier = std::sync::Barrier::new(2);
    let come = || {
        let mut waiting = watch(&bucket);
        assert_eq!(waiting.look(None).unwrap(), None);
        barrier.wait();
        waiting.take_over(None, location(&bucket), options()).unwrap()
    };
    let stores = std::thread::scope(|scope| {
        let both = [scope.spawn(come), scope.spawn(come)];
        both.map(|one| one.join().unwrap())
    });
    let mut stores: Vec<Store> = stores.into_iter().flatten().collect();
    assert_eq!(stores.len(), 1);
    let first = stores.remove(0);
    append(&first, "a").unwrap();
    // Nor does a third, who has seen nobody, either.
    assert!(watch(&bucket).take_over(None, location(&bucket), options()).unwrap().is_none());
    append(&first, "b").unwrap();
}

/// It has begun the log, and nothing else.
#[test]
fn a_first_writer_that_ended_before_it_showed_itself_is_followed() {
    let bucket = memory();
    let mute: Arc<dyn ObjectStore> = Far::without(Arc::clone(&bucket), "drivers");
    let patience = Duration::from_millis(100);
    assert!(Store::open(location(&mute), Options { patience, ..options() }).is_err());
    let mut waiting = watch(&bucket);
    assert_eq!(waiting.look(None).unwrap(), None);
    let mut take = || waiting.take_over(None, location(&bucket), options()).unwrap();
    assert!(take().is_none(), "who has written there may be just about to show itself");
    append(&take().unwrap(), "a").unwrap();
}

#[test]
fn a_writer_that_ends_says_so() {
    let bucket = memory();
    let first = open(&bucket);
    append(&first, "a").unwrap();
    first.close().unwrap();
    let mut waiting = watch(&bucket);
    let sign = last(&waiting);
    assert!(sign.left);
    assert_eq!(content(&take(&mut waiting, &bucket, &sign).unwrap()), "a");
}

#[test]
fn a_writer_that_hears_of_somebody_keeps_its_place() {
    let bucket = memory();
    let first = open(&bucket);
    let mut waiting = watch(&bucket);
    let before = last(&waiting);
    assert!(first.is_sure().unwrap());
    waiting.announce().unwrap();
    let begun = Instant::now();
    let mut beats = vec![before.clone()];
    while beats.len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
        let sign = last(&waiting);
        if beats.last() != Some(&sign) {
            beats.push(sign);
        }
    }
    // To begin with, it has made sure with an object of the log.
    let logs = objects(&bucket).into_iter().filter(|(name, _)| name.contains("/log/")).count();
    assert_eq!(logs, 2);
    assert!(take(&mut waiting, &bucket, &before).is_none());
    append(&first, "a").unwrap();
    first.wait_sure().unwrap();
    // What it has shown last counts, as long as it shows nothing else.
    let taken = (0..20).find_map(|_| {
        let sign = last(&waiting);
        take(&mut waiting, &bucket, &sign)
    });
    assert!(taken.is_some());
    assert!(matches!(append(&first, "b"), Err(StorageError::Fenced { .. })));
}

#[test]
fn one_of_several_gets_the_place() {
    for _ in 0..10 {
        let bucket: Arc<dyn ObjectStore> = Far::new(memory(), Duration::from_millis(3), 0);
        let first = open(&bucket);
        append(&first, "a").unwrap();
        let sign = last(&watch(&bucket));
        let taken: Vec<_> = std::thread::scope(|scope| {
            let take = || scope.spawn(|| take(&mut watch(&bucket), &bucket, &sign));
            let all = [take(), take(), take()];
            all.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.len(), 1);
        append(&taken[0], "b").unwrap();
        assert_eq!(content(&taken[0]), "ab");
    }
}

/// A standby that has shut out the writer dies before it has shown itself.
#[test]
fn a_takeover_that_was_begun_keeps_nobody_out() {
    let bucket = memory();
    let first = open(&bucket);
    append(&first, "a").unwrap();
    let mut waiting = watch(&bucket);
    let sign = last(&waiting);
    let mute: Arc<dyn ObjectStore> = Far::without(Arc::clone(&bucket), "drivers");
    let patience = Duration::from_millis(100);
    assert!(Store::open(location(&mute), Options { patience, ..options() }).is_err());
    assert!(append(&first, "b").is_err());
    assert!(take(&mut waiting, &bucket, &sign).is_none());
    assert_eq!(content(&take(&mut waiting, &bucket, &sign).unwrap()), "a");
}

/// Google takes one request a second to write an object.
#[test]
fn who_takes_over_writes_no_object_twice() {
    let far = Far::new(memory(), Duration::ZERO, 0);
    let bucket: Arc<dyn ObjectStore> = Arc::<Far>::clone(&far);
    open(&bucket).close().unwrap();
    far.puts();
    let mut waiting = watch(&bucket);
    let sign = last(&waiting);
    let _second = take(&mut waiting, &bucket, &sign).unwrap();
    let numbers = [("drivers", 1), ("drivers", 2), ("log", 2), ("manifests", 2)];
    assert_eq!(far.puts(), numbers.map(|(folder, number)| format!("some/prefix/{folder}/{number:020}")));
    // The one before has shown what it has shown.
    assert_eq!(last(&waiting).epoch, 2);
    assert_eq!(waiting.look(Some(1)).unwrap().unwrap(), sign);
}

/// Whether or not the writer before has shown itself.
#[test]
fn a_storage_that_overwrites_is_not_taken_over() {
    let bucket = memory();
    let careless: Arc<dyn ObjectStore> = Far::careless(Arc::clone(&bucket));
    for is_shown in [false, true] {
        if is_shown {
            open(&bucket).close().unwrap();
        }
        let mut waiting = watch(&careless);
        let sign = waiting.look(None).unwrap();
        assert_eq!(sign.is_some(), is_shown);
        let mut take = || waiting.take_over(sign.as_ref(), location(&careless), options());
        // The first time, one may be there that has not shown itself.
        let taken = take().and_then(|store| if store.is_none() { take() } else { Ok(store) });
        let error = taken.err().unwrap().to_string();
        assert!(error.contains("it has no conditional writes"), "{error}");
    }
}
