//! Files that workers read themselves: how they look to the driver, and whether every worker sees the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use duckherder_planner::{Files, Plan, Scan, Split};
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::actions::{SeeFiles, SeenFiles};
use duckherder_proto::any::Command;
use duckherder_proto::task::FileStamp;
use duckherder_worker::files;
use futures::TryStreamExt;
use futures::future::join_all;
use prost::Message;

use super::Shared;
use crate::cluster::RemoteWorker;

/// How long a worker may look at files.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// A scan's files, as they were when the query was planned.
pub struct KnownFiles {
    pub files: Files,
    stamps: Vec<FileStamp>,
    seen_by: BTreeSet<u64>,
}

impl KnownFiles {
    /// The workers elsewhere that were asked and see them, by [`RemoteWorker::instance`].
    pub fn seen_by(&self) -> &BTreeSet<u64> {
        &self.seen_by
    }

    /// Those of a split.
    pub fn stamps(&self, split: &Split) -> &[FileStamp] {
        let Split::Range { first, last } = *split else { return &self.stamps };
        self.stamps.get(self.files.of_units(first, last)).unwrap_or(&self.stamps)
    }
}

/// By scan; `None` where workers read no files.
pub type FilesOfScans = Vec<Option<Arc<KnownFiles>>>;

/// Looks at the files of a plan, and asks workers elsewhere whether they see them, too: those that are not everybody's
/// are kept for the driver.
pub fn look(shared: &Shared, plan: &mut Plan) -> FilesOfScans {
    plan.root.preorder_scans_mut().into_iter().map(|scan| look_at(shared, scan)).collect()
}

fn look_at(shared: &Shared, scan: &mut Scan) -> Option<Arc<KnownFiles>> {
    let found = scan.files.as_mut()?;
    match stamps(shared, found) {
        Ok((stamps, seen_by)) => {
            found.bytes = stamps.iter().map(|stamp| stamp.bytes).collect();
            Some(Arc::new(KnownFiles { files: found.clone(), stamps, seen_by }))
        }
        Err(reason) => {
            scan.files = None;
            scan.kept = reason;
            None
        }
    }
}

/// How the files that are read look, and which workers see all that they have to open, or why only the driver can read
/// them.
fn stamps(shared: &Shared, found: &Files) -> Result<(Vec<FileStamp>, BTreeSet<u64>), String> {
    let stamp = |path: &String| {
        let plain = |error| format!("\"{path}\" is not a file that workers could be asked about: {error}");
        files::stamp(path).map_err(plain)
    };
    let mut opened = found.paths.iter().map(stamp).collect::<Result<Vec<_>, _>>()?;
    let workers = shared.cluster.remote_workers();
    if workers.is_empty() {
        return Ok((opened, BTreeSet::new()));
    }
    for path in &found.others {
        opened.push(stamp(path)?);
    }
    let runtime = shared.runtime().map_err(|error| error.message)?;
    let asked = runtime.block_on(join_all(workers.iter().map(|worker| ask(worker, &opened))));
    asked.into_iter().collect::<Result<(), _>>()?;
    opened.truncate(found.paths.len());
    Ok((opened, workers.iter().map(|worker| worker.instance).collect()))
}

/// Whether the worker sees the same files.
async fn ask(worker: &RemoteWorker, stamps: &[FileStamp]) -> Result<(), String> {
    let mut client = FlightServiceClient::new(worker.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let action = Action::new(SeeFiles::TYPE_URL, SeeFiles { files: stamps.to_vec() }.pack());
    let call = async {
        let answers = client.do_action(action).await?.into_inner();
        answers.try_collect::<Vec<_>>().await
    };
    let silent = |reason: &str| format!("worker '{}' does not say whether it sees the files: {reason}", worker.id);
    let answered = tokio::time::timeout(LOOK_TIMEOUT, call).await.map_err(|_| silent("no answer in time"))?;
    let answers = answered.map_err(|status| silent(status.message()))?;
    let seen = answers.into_iter().next().and_then(|answer| Any::decode(answer.body).ok());
    match seen.and_then(|any| SeenFiles::from_any(&any).ok().flatten()) {
        Some(SeenFiles { problem: None, .. }) => Ok(()),
        Some(SeenFiles { problem: Some(problem), .. }) => {
            Err(format!("worker '{}' does not see the driver's files: {problem}", worker.id))
        }
        None => Err(silent("its answer is broken")),
    }
}
