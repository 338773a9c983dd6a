//! Files are what was written, also after a crash.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use duckherder_storage::{Location, OpenMode, Options, Store};
use object_store::ObjectStore;
use support::{Far, location, memory, objects, open, options};

/// Numbers that are the same for a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

const MAKE: OpenMode = OpenMode { create: true, truncate: false };

fn content(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let names = store.names().unwrap();
    names.into_iter().map(|name| (name.clone(), store.read_file(&name).unwrap().unwrap())).collect()
}

#[test]
fn what_is_durable_is_there_after_a_crash() {
    let bucket = memory();
    let store = open(&bucket);
    let file = store.open_file("a", MAKE).unwrap().unwrap();
    file.write(4, b"hello").unwrap();
    file.sync().unwrap();
    file.write(0, b"never").unwrap();
    store.wait_durable().unwrap();
    let mut read = [1; 12];
    assert_eq!(file.read(0, &mut read).unwrap(), 9);
    assert_eq!(&read[..9], b"neverello");
    drop((store, file));
    let store = open(&bucket);
    assert_eq!(content(&store), BTreeMap::from([("a".to_string(), b"\0\0\0\0hello".to_vec())]));
    assert!(store.open_file("b", OpenMode::default()).unwrap().is_none());
}

#[test]
fn names_change_hands_at_once() {
    let bucket = memory();
    let store = open(&bucket);
    store.write_file("old", b"1").unwrap();
    store.write_file("new", b"22").unwrap();
    store.rename("new", "old").unwrap();
    store.write_file("gone", b"3").unwrap();
    assert!(store.remove("gone").unwrap());
    assert!(!store.remove("gone").unwrap());
    let error = store.rename("gone", "old").unwrap_err().to_string();
    assert_eq!(error, "there is no file gone in test://place");
    store.wait_durable().unwrap();
    drop(store);
    let store = open(&bucket);
    assert_eq!(content(&store), BTreeMap::from([("old".to_string(), b"22".to_vec())]));
    store.close().unwrap();
    assert_eq!(content(&open(&bucket)).len(), 1);
}

/// Random work on files beside the same on plain bytes. A crash may lose what nobody waited for, and nothing else; what
/// is there afterwards is one of the states that there were.
fn compare_with_bytes(bucket: &Arc<dyn ObjectStore>, seed: u64, rounds: usize) {
    let mut draw = Draw(seed);
    let names = ["db", "db.wal", "db.wal.checkpoint"];
    let mut states: Vec<BTreeMap<String, Vec<u8>>> = vec![BTreeMap::new()];
    for round in 0..rounds {
        let store = open(bucket);
        let found = content(&store);
        assert!(states.contains(&found), "seed {seed}, round {round}: not one of {} states", states.len());
        let mut durable = found.clone();
        // As they are now, and as they were when they were last synced.
        let mut now = found;
        states = vec![durable.clone()];
        for _ in 0..draw.below(40) {
            let name = names[draw.below(3) as usize];
            let file = store.open_file(name, MAKE).unwrap().unwrap();
            let bytes = now.entry(name.to_string()).or_default();
            match draw.below(12) {
                0..5 => {
                    let large = draw.below(4) == 0;
                    let start = draw.below(bytes.len() as u64 + 1) as usize;
                    let count = draw.below(if large { 3 << 20 } else { 5000 }) as usize;
                    let written = draw.bytes(1).repeat(count);
                    file.write(start as u64, &written).unwrap();
                    bytes.resize(bytes.len().max(start + count), 0);
                    bytes[start..start + count].copy_from_slice(&written);
                }
                5 => {
                    let length = draw.below(bytes.len() as u64 + 1);
                    file.truncate(length).unwrap();
                    bytes.truncate(length as usize);
                }
                6 => {
                    let start = draw.below(bytes.len() as u64 + 1) as usize;
                    let end = (start + draw.below(10_000) as usize).min(bytes.len());
                    file.trim(start as u64, (end - start) as u64).unwrap();
                    bytes[start..end].fill(0);
                }
                7 => {
                    assert!(store.remove(name).unwrap());
                    now.remove(name);
                    durable.remove(name);
                    states.push(durable.clone());
                }
                8 => {
                    file.sync().unwrap();
                    let moved = now.remove(name).unwrap();
                    store.rename(name, "db.wal").unwrap();
                    durable.insert(name.to_string(), moved.clone());
                    states.push(durable.clone());
                    durable.remove(name);
                    now.insert("db.wal".to_string(), moved.clone());
                    durable.insert("db.wal".to_string(), moved);
                    states.push(durable.clone());
                }
                _ => {
                    let bytes = bytes.clone();
                    file.sync().unwrap();
                    durable.insert(name.to_string(), bytes);
                    states.push(durable.clone());
                    if draw.below(2) == 0 {
                        store.wait_durable().unwrap();
                        states = vec![durable.clone()];
                    }
                }
            }
            let read = content(&store);
            assert!(read == now, "seed {seed}, round {round}: files are not what was written");
        }
        if draw.below(3) == 0 {
            store.close().unwrap();
            states = vec![durable];
        }
    }
}

#[test]
fn files_are_as_plain_bytes_would_be() {
    for seed in 1..=6 {
        compare_with_bytes(&memory(), seed, 12);
    }
}

#[test]
fn files_are_as_plain_bytes_would_be_over_a_bad_network() {
    let bucket: Arc<dyn ObjectStore> = Far::new(memory(), Duration::from_millis(1), 9);
    compare_with_bytes(&bucket, 77, 12);
}

#[test]
fn a_directory_is_a_storage() {
    let directory = std::env::temp_dir().join(format!("duckherder-storage-test-{}", uuid::Uuid::new_v4()));
    let url = format!("file://{}", directory.display());
    let store = Store::open(Location::parse(&url, options().patience).unwrap(), options()).unwrap();
    store.write_file("x", b"content").unwrap();
    drop(store);
    let store = Store::open(Location::parse(&url, options().patience).unwrap(), options()).unwrap();
    assert_eq!(store.read_file("x").unwrap().unwrap(), b"content");
    store.close().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_scan_makes_a_request_for_4_mib() {
    let bucket = memory();
    let store = open(&bucket);
    let file = store.open_file("db", MAKE).unwrap().unwrap();
    let block = 256 << 10;
    for number in 0..256u64 {
        file.write(12288 + number * block, &vec![number as u8; block as usize]).unwrap();
    }
    file.sync().unwrap();
    store.close().unwrap();
    let store = open(&bucket);
    let file = store.open_file("db", MAKE).unwrap().unwrap();
    let before = store.requests();
    let scan = || {
        let mut read = vec![0; block as usize];
        for number in 0..256u64 {
            assert_eq!(file.read(12288 + number * block, &mut read).unwrap(), block as usize);
            assert!(read.iter().all(|byte| *byte == number as u8));
        }
    };
    scan();
    let after = store.requests();
    assert!(after.gets - before.gets <= 16, "{} requests for 64 MiB", after.gets - before.gets);
    scan();
    assert_eq!(store.requests().gets, after.gets);
    // Several at once share what they fetch.
    let other = open(&bucket);
    let file = other.open_file("db", MAKE).unwrap().unwrap();
    let before = other.requests().gets;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut read = vec![0; 64 << 20];
                file.read(12288, &mut read).unwrap();
            });
        }
    });
    assert!(other.requests().gets - before <= 16);
}

#[test]
fn space_is_at_most_twice_what_files_have() {
    let bucket = memory();
    let store = Store::open(location(&bucket), Options { keep: Duration::ZERO, ..options() }).unwrap();
    let file = store.open_file("db", MAKE).unwrap().unwrap();
    let block: u64 = 64 << 10;
    let mut draw = Draw(5);
    let mut expected = [0; 128];
    for update in 0..1000u64 {
        let number = draw.below(128);
        expected[number as usize] = update as u8;
        file.write(number * block, &vec![update as u8; block as usize]).unwrap();
        if update % 50 == 0 {
            // Larger than what goes into the log.
            for number in 0..40 {
                expected[number as usize] = update as u8;
                file.write(number * block, &vec![update as u8; block as usize]).unwrap();
            }
        }
        file.sync().unwrap();
    }
    store.wait_durable().unwrap();
    let live = file.length().unwrap();
    let begun = std::time::Instant::now();
    let used = || {
        let packs = objects(&bucket).into_iter().filter(|(name, _)| name.contains("/packs/"));
        packs.map(|(_, bytes)| bytes).sum::<u64>()
    };
    while used() > 2 * live && begun.elapsed() < Duration::from_secs(90) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(used() <= 2 * live, "{} bytes of packs for {live}", used());
    let check = |store: &Store| {
        let bytes = store.read_file("db").unwrap().unwrap();
        for (number, value) in expected.iter().enumerate() {
            let at = number * block as usize;
            assert!(bytes[at..at + block as usize].iter().all(|byte| byte == value), "block {number}");
        }
    };
    check(&store);
    store.close().unwrap();
    check(&open(&bucket));
}

/// Several threads write and sync parts of one file.
#[test]
fn syncs_of_one_file_come_one_after_the_other() {
    let bucket: Arc<dyn ObjectStore> = Far::new(memory(), Duration::from_millis(2), 0);
    let store = open(&bucket);
    let block: u64 = 300_000;
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let store = &store;
            scope.spawn(move || {
                let file = store.open_file("db", MAKE).unwrap().unwrap();
                for round in 0..12u64 {
                    for part in 0..4 {
                        file.write((part * 6 + thread) * block, &vec![(thread * 16 + round) as u8; block as usize])
                            .unwrap();
                    }
                    file.sync().unwrap();
                    let mut read = [0];
                    file.read((18 + thread) * block, &mut read).unwrap();
                    assert_eq!(u64::from(read[0]), thread * 16 + round);
                }
            });
        }
    });
    store.wait_durable().unwrap();
    drop(store);
    let bytes = open(&bucket).read_file("db").unwrap().unwrap();
    assert_eq!(bytes.len() as u64, 24 * block);
    for (number, found) in bytes.chunks(block as usize).enumerate() {
        assert!(found.iter().all(|byte| usize::from(*byte) == number % 6 * 16 + 11), "block {number}");
    }
}
