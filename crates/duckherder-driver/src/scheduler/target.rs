//! The directory that a COPY TO writes to: whether workers in other processes see the same, and may write there.
//!
//! ```text
//!   driver   makes  DIR/.duckherder-reach-N/driver
//!   worker   finds it as the driver made it, and makes  DIR/.duckherder-reach-N/WORKER  beside it
//!   driver   finds that: both write to one directory, the worker also where the driver has made one
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use duckherder_planner::Plan;
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::actions::{ReachFile, SeenFiles};
use duckherder_proto::any::Command;
use duckherder_proto::task::FileStamp;
use duckherder_worker::files;
use futures::TryStreamExt;
use futures::future::join_all;
use prost::Message;

use super::Shared;
use crate::cluster::RemoteWorker;

/// How long a worker may take to look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The workers elsewhere, by [`RemoteWorker::instance`], that write where the driver does; `None` if the plan writes no
/// files. Where one does not, or that is not known, the plan says why the driver writes.
pub fn look(shared: &Shared, plan: &mut Plan) -> Option<BTreeSet<u64>> {
    let write = plan.root.write.as_mut().filter(|write| write.kept.is_empty())?;
    match reached_by(shared, &write.directory) {
        Ok(workers) => Some(workers),
        Err(reason) => {
            write.kept = reason;
            None
        }
    }
}

fn reached_by(shared: &Shared, directory: &str) -> Result<BTreeSet<u64>, String> {
    let workers = shared.cluster.remote_workers();
    if workers.is_empty() {
        return Ok(BTreeSet::new());
    }
    let place = nearest(Path::new(directory)).ok_or_else(|| format!("\"{directory}\" is nowhere"))?;
    let sign = Sign::put(&place, shared.next_plan())
        .map_err(|error| format!("the driver can't write to \"{}\": {error}", place.display()))?;
    let runtime = shared.runtime().map_err(|error| error.message)?;
    let asked = runtime.block_on(join_all(workers.iter().map(|worker| ask(worker, &sign))));
    asked.into_iter().collect::<Result<(), _>>()?;
    Ok(workers.iter().map(|worker| worker.instance).collect())
}

/// The directory, or the nearest one that there is above.
fn nearest(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|above| above.is_dir()).map(Path::to_path_buf)
}

/// A file that tells a directory from all others, in one of its own inside; removed when dropped, with what workers have
/// put there.
struct Sign {
    folder: PathBuf,
    stamp: FileStamp,
}

impl Sign {
    fn put(directory: &Path, number: u64) -> std::io::Result<Self> {
        let process = std::process::id();
        let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let folder = directory.join(format!(".duckherder-reach-{process}-{moment}-{number}"));
        fs::create_dir(&folder)?;
        let mut sign = Self { folder, stamp: FileStamp::default() };
        let path = sign.folder.join("driver");
        let mut file = File::create_new(&path)?;
        write!(file, "{process} {moment} {number}")?;
        file.sync_all()?;
        let name = path.to_str().ok_or_else(|| std::io::Error::other("its name is no text"))?;
        sign.stamp = files::stamp(name)?;
        Ok(sign)
    }

    /// What a worker is to make.
    fn answer(&self, worker: u64) -> String {
        self.folder.join(worker.to_string()).to_string_lossy().into_owned()
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        // What can't be removed is hidden, and empty but for a few bytes.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whether the worker writes to the same directory.
async fn ask(worker: &RemoteWorker, sign: &Sign) -> Result<(), String> {
    let mut client = FlightServiceClient::new(worker.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = sign.answer(worker.instance);
    let reach = ReachFile { file: Some(sign.stamp.clone()), answer: answer.clone() };
    let action = Action::new(ReachFile::TYPE_URL, reach.pack());
    let call = async {
        let answers = client.do_action(action).await?.into_inner();
        answers.try_collect::<Vec<_>>().await
    };
    let silent = |reason: &str| format!("worker '{}' does not say whether it can write there: {reason}", worker.id);
    let answered = tokio::time::timeout(LOOK_TIMEOUT, call).await.map_err(|_| silent("no answer in time"))?;
    let answers = answered.map_err(|status| silent(status.message()))?;
    let seen = answers.into_iter().next().and_then(|answer| Any::decode(answer.body).ok());
    match seen.and_then(|any| SeenFiles::from_any(&any).ok().flatten()) {
        Some(SeenFiles { problem: None, .. }) if Path::new(&answer).is_file() => Ok(()),
        Some(SeenFiles { problem: None, .. }) => {
            Err(format!("what worker '{}' writes there, the driver does not see", worker.id))
        }
        Some(SeenFiles { problem: Some(problem), .. }) => {
            Err(format!("worker '{}' can't write to the driver's directory: {problem}", worker.id))
        }
        None => Err(silent("its answer is broken")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_sign_goes_with_what_was_put_beside_it() {
        let folder = std::env::temp_dir().join(format!("duckherder-target-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("other"), "").unwrap();
        assert_eq!(nearest(&folder.join("not/there")), Some(folder.clone()));
        let sign = Sign::put(&folder, 7).unwrap();
        let answer = sign.answer(1);
        assert_eq!(files::reach(&sign.stamp, &answer), None);
        assert!(Path::new(&answer).is_file());
        // Another file of that name is not what the driver made.
        let other = FileStamp { bytes: sign.stamp.bytes + 1, ..sign.stamp.clone() };
        assert!(files::reach(&other, &answer).unwrap().contains("another size or time"));
        drop(sign);
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
