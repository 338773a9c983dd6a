//! Workers that join, leave, fall silent and come back, as the driver lists them.

use std::time::Duration;

use duckherder_driver::{Driver, DriverOptions};
use duckherder_proto::herd::{JoinHerd, Joined, ListWorkers, WorkerEntry, WorkerList, WorkerState};
use duckherder_worker::{Join, Worker, WorkerOptions};

use crate::common::{Client, within};

const SILENCE: Duration = Duration::from_secs(3);

fn driver() -> Driver {
    let listen = "127.0.0.1:0".to_string();
    Driver::start(DriverOptions { listen, worker_timeout: SILENCE, local_workers: 1, ..Default::default() }).unwrap()
}

fn worker(driver: &Driver, id: &str, listen: &str) -> Worker {
    let join = Join { driver: driver.address().to_string(), advertise: None };
    let (id, listen) = (id.to_string(), listen.to_string());
    Worker::start(WorkerOptions { listen, id, join: vec![join], ..Default::default() }).unwrap()
}

/// Workers in other processes, as a client sees them.
async fn remote(client: &Client) -> Vec<WorkerEntry> {
    let WorkerList { mut workers } = client.act(ListWorkers {}).await.unwrap();
    assert_eq!(workers.remove(0).location, None);
    workers
}

async fn wait_for(client: &Client, expected: &[(&str, WorkerState)]) {
    let states = || async {
        let found = remote(client).await;
        found.into_iter().map(|worker| (worker.worker_id.clone(), worker.state())).collect::<Vec<_>>()
    };
    let expected: Vec<_> = expected.iter().map(|(id, state)| (id.to_string(), *state)).collect();
    within(10.0, async {
        while states().await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_join_fall_silent_and_come_back() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let first = worker(&driver, "w", "127.0.0.1:0");
    wait_for(&client, &[("w", WorkerState::Active)]).await;
    let known = remote(&client).await;
    let status = known[0].status.clone().unwrap();
    assert!(status.threads > 0 && status.memory_limit_bytes > 0, "{status:?}");

    let address = first.address().to_string();
    assert_eq!(known[0].location, Some(format!("grpc://{address}")));
    tokio::task::spawn_blocking(move || first.stop()).await.unwrap();
    wait_for(&client, &[]).await;
    // Another life at the same place.
    let second = worker(&driver, "w", &address);
    wait_for(&client, &[("w", WorkerState::Active)]).await;
    assert_ne!(remote(&client).await[0].status.clone().unwrap().instance, status.instance);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_registered_is_called_back() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let start =
        |listen: &str| Worker::start(WorkerOptions { listen: listen.to_string(), ..Default::default() }).unwrap();
    let first = start("127.0.0.1:0");
    let address = first.address().to_string();
    driver.cluster().register("w", &format!("grpc://{address}")).await.unwrap();
    tokio::task::spawn_blocking(move || first.stop()).await.unwrap();
    wait_for(&client, &[]).await;
    let second = start(&address);
    wait_for(&client, &[("w", WorkerState::Active)]).await;

    // One that leaves is not.
    within(30.0, second.drain()).await;
    wait_for(&client, &[]).await;
    assert_eq!(driver.cluster().missing(), []);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_when_nobody_counts_on_it() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let worker = worker(&driver, "w", "127.0.0.1:0");
    wait_for(&client, &[("w", WorkerState::Active)]).await;
    let known = driver.cluster().remote_workers();
    let lease = known[0].lease().unwrap();
    let drained = tokio::spawn(worker.drain());
    wait_for(&client, &[("w", WorkerState::Draining)]).await;
    assert!(known[0].lease().is_none() && driver.cluster().remote_workers().is_empty());
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!drained.is_finished());
    drop(lease);
    within(20.0, drained).await.unwrap();
    wait_for(&client, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_must_be_there_and_have_its_own_name() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let worker = worker(&driver, "w", "127.0.0.1:0");
    wait_for(&client, &[("w", WorkerState::Active)]).await;
    let call = JoinHerd { worker_id: "w".to_string(), instance: 1, port: 1, ..Default::default() };
    let error = client.act::<Joined>(call.clone()).await.unwrap_err();
    assert!(error.message.contains("there is a worker 'w' already"), "{error:?}");
    let error = client.act::<Joined>(JoinHerd { worker_id: "x".to_string(), ..call }).await.unwrap_err();
    assert!(error.exception_type == "IO" && error.message.contains("127.0.0.1:1"), "{error:?}");
    drop(worker);
}
