//! Readers elsewhere find the state after any record, as long as its writer has pinned it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use duckherder_storage::{Follower, Mark, OpenMode, Options, Reader, Store, Version};
use support::{Far, location, memory, open, options};

const MAKE: OpenMode = OpenMode { create: true, truncate: false };

/// Adds a byte to a file; the position.
fn append(store: &Store, name: &str, byte: u8) -> u64 {
    let file = store.open_file(name, MAKE).unwrap().unwrap();
    file.write(file.length().unwrap(), &[byte]).unwrap();
    file.sync().unwrap();
    store.position()
}

fn content(reader: &Reader, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; reader.length(name).unwrap_or_default() as usize];
    if !bytes.is_empty() {
        assert_eq!(reader.read(name, 0, &mut bytes).unwrap(), bytes.len());
    }
    bytes
}

#[test]
fn every_position_is_a_state() {
    // Several records are in one object, since each takes a while.
    let bucket: std::sync::Arc<dyn object_store::ObjectStore> = Far::new(memory(), Duration::from_millis(5), 0);
    let store = open(&bucket);
    let pin = store.pin_at(0).unwrap();
    let positions: Vec<u64> = (0..60).map(|number| append(&store, "wal", number)).collect();
    let marks: Vec<Mark> = positions.iter().map(|position| store.mark(*position).unwrap().unwrap()).collect();
    assert!(marks.iter().any(|mark| mark.records.is_some()), "each record has an object of its own");
    let follower = Follower::new(location(&bucket), options()).unwrap();
    let expected = |number: usize| (0..=number as u8).collect::<Vec<_>>();
    for (number, mark) in marks.iter().enumerate() {
        assert_eq!(content(&follower.reader(mark).unwrap(), "wal"), expected(number), "{mark:?}");
    }
    // Earlier ones, too, and by somebody who knows nothing yet.
    for (number, mark) in marks.iter().enumerate().step_by(7) {
        assert_eq!(content(&follower.reader(mark).unwrap(), "wal"), expected(number), "{mark:?}");
        let other = Follower::new(location(&bucket), options()).unwrap();
        assert_eq!(content(&other.reader(mark).unwrap(), "wal"), expected(number), "{mark:?}");
    }
    let before = store.mark(0).unwrap().unwrap();
    assert_eq!(content(&follower.reader(&before).unwrap(), "wal"), b"");
    drop(pin);
}

#[test]
fn who_goes_on_reads_only_what_is_new() {
    let bucket = memory();
    let store = open(&bucket);
    let _pin = store.pin_at(0).unwrap();
    let mark = |position| store.mark(position).unwrap().unwrap();
    let first = mark(append(&store, "wal", 1));
    let follower = Follower::new(location(&bucket), options()).unwrap();
    follower.reader(&first).unwrap();
    let before = follower.requests();
    for number in 2..7 {
        let next = mark(append(&store, "wal", number));
        assert_eq!(content(&follower.reader(&next).unwrap(), "wal").len(), number as usize);
    }
    let after = follower.requests();
    assert_eq!((after.lists - before.lists, after.gets - before.gets), (0, 5));
}

#[test]
fn readers_wait_for_no_others() {
    const READERS: u32 = 8;
    let bucket = memory();
    let store = open(&bucket);
    let _pin = store.pin_at(0).unwrap();
    let mut mark = |number| store.mark(append(&store, "wal", number)).unwrap().unwrap();
    let first = mark(0);
    let marks: Vec<_> = (1..=READERS as u8).map(&mut mark).collect();
    let latency = Duration::from_millis(200);
    let far: std::sync::Arc<dyn object_store::ObjectStore> = Far::new(bucket, latency, 0);
    let follower = &Follower::new(location(&far), options()).unwrap();
    follower.reader(&first).unwrap();
    let read = |wanted: &[&Mark]| {
        let (begun, before) = (Instant::now(), follower.requests());
        std::thread::scope(|scope| {
            for mark in wanted {
                scope.spawn(move || follower.reader(mark).unwrap());
            }
        });
        (begun.elapsed(), follower.requests().gets - before.gets)
    };
    let (took, _) = read(&marks.iter().collect::<Vec<_>>());
    assert!(took < latency * READERS / 2, "{took:?}");
    // Those that want the same share its requests.
    let next = mark(READERS as u8 + 1);
    let (_, gets) = read(&[&next; READERS as usize]);
    assert_eq!(gets, 1);
}

#[test]
fn another_place_of_the_same_name_is_refused() {
    let (here, there) = (memory(), memory());
    let (store, other) = (open(&here), open(&there));
    append(&other, "wal", 1);
    let mark = store.mark(append(&store, "wal", 1)).unwrap().unwrap();
    append(&other, "wal", 1);
    other.wait_durable().unwrap();
    let follower = Follower::new(location(&there), options()).unwrap();
    let error = follower.reader(&mark).err().unwrap().to_string();
    assert!(error.contains("another place here than where its driver writes"), "{error}");
    // Nor is a state of the driver before.
    let store = open(&here);
    let next = store.mark(store.position()).unwrap().unwrap();
    let wrong = Mark { writer: mark.writer.clone(), ..next.clone() };
    let follower = Follower::new(location(&here), options()).unwrap();
    assert!(follower.reader(&wrong).is_err());
    follower.reader(&next).unwrap();
    follower.reader(&mark).unwrap();
}

#[test]
fn names_know_when_they_last_changed() {
    let bucket = memory();
    let store = open(&bucket);
    let one = append(&store, "one", 1);
    let two = append(&store, "two", 1);
    assert_eq!((store.changed("one"), store.changed("two"), store.changed("three")), (one, two, 0));
    store.rename("one", "three").unwrap();
    assert_eq!((store.changed("one"), store.changed("three")), (two + 1, two + 1));
    store.remove("two").unwrap();
    assert_eq!(store.changed("two"), two + 2);
}

/// Large enough to be a pack.
fn write_pack(store: &Store, byte: u8) -> u64 {
    let file = store.open_file("data", MAKE).unwrap().unwrap();
    file.write(0, &vec![byte; 1 << 20]).unwrap();
    file.sync().unwrap();
    store.position()
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_pinned_stays_and_what_is_gone_is_not_pinned() {
    let bucket = memory();
    let store = Store::open(location(&bucket), Options { keep: Duration::ZERO, ..options() }).unwrap();
    let first = write_pack(&store, 1);
    let pin = store.pin_at(first).unwrap();
    let mark = store.mark(first).unwrap().unwrap();
    let follower = Follower::new(location(&bucket), options()).unwrap();
    let reader = follower.reader(&mark).unwrap();
    let later = write_pack(&store, 2);
    store.wait_durable().unwrap();
    // Time for the collection.
    std::thread::sleep(Duration::from_millis(500));
    assert!(content(&reader, "data").iter().all(|byte| *byte == 1));
    drop(pin);
    until(|| store.pin_at(first).is_none());
    assert!(store.pin_at(later).is_some());
    let fresh = Follower::new(location(&bucket), options()).unwrap();
    let at_first = fresh.reader(&mark);
    assert!(at_first.is_err() || at_first.unwrap().read("data", 0, &mut [0]).is_err());
    // A state with other packs but the same bytes has them, for whoever still has the old one.
    let current = fresh.reader(&store.mark(later).unwrap().unwrap()).unwrap();
    let bytes = content(&current, "data");
    assert!(bytes.iter().all(|byte| *byte == 2));
    assert_eq!(current.version(), Version(store.version().0));
}
