//! Calls to workers: each has a deadline, and ends with the worker.

use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use arrow_flight::{Action, Result as Answer};
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::actions::LoadExtension;
use duckherder_proto::any::Command;
use duckherder_proto::hello::Hello;
use duckherder_proto::herd::{AskWorker, WorkerStatus};
use futures::TryStreamExt;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::address::authority;
use super::worker::RemoteWorker;
use crate::error::{DriverError, Result};

/// How long a worker may take to answer when it is registered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a worker may take to install and load an extension.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Meets the worker that is there; `driver` is this driver's number, which will ask it once in `asked_within`.
///
/// # Errors
/// The location is malformed, no worker of this driver's version answers there, or it is about to leave.
pub async fn meet(driver: u64, id: &str, location: &str, asked_within: Duration) -> Result<RemoteWorker> {
    let channel = connect(id, location).await?;
    let silent = |status: Status| DriverError::WorkerSilent {
        id: id.to_string(),
        location: location.to_string(),
        reason: status.message().to_string(),
    };
    greet(&channel, id, location).await?;
    let question = AskWorker { driver, may_leave: false };
    let status = ask(&channel, &question, CONNECT_TIMEOUT).await.map_err(silent)?;
    let status: WorkerStatus =
        status.ok_or_else(|| silent(Status::unknown("it answered something else than was asked")))?;
    if status.draining {
        return Err(silent(Status::unavailable("it is about to leave")));
    }
    Ok(RemoteWorker::new(id, location, channel, status, asked_within))
}

async fn connect(id: &str, location: &str) -> Result<Channel> {
    let malformed = |error| DriverError::Invalid(format!("worker '{id}': location '{location}': {error}"));
    let endpoint = Endpoint::from_shared(format!("http://{}", authority(id, location)?)).map_err(malformed)?;
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(crate::server::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(duckherder_proto::CONNECTION_WINDOW_BYTES)
        .max_frame_size(duckherder_proto::MAX_FRAME_BYTES)
        .http2_keep_alive_interval(crate::server::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(crate::server::KEEP_ALIVE_TIMEOUT);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
    let reason = match connected {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        },
        Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    Err(DriverError::WorkerSilent { id: id.to_string(), location: location.to_string(), reason })
}

/// Makes sure that what answers there is a worker that knows our messages.
async fn greet(channel: &Channel, id: &str, location: &str) -> Result<()> {
    let own = Hello::from("driver");
    let no_worker = |reason: String| {
        DriverError::Invalid(format!(
            "worker '{id}': what answers at {location} is no worker of this driver's version: {reason}"
        ))
    };
    let answered: Option<Hello> = ask(channel, &own, CONNECT_TIMEOUT).await.map_err(|status| match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::NotFound => no_worker(own.not_understood("worker")),
        _ => DriverError::WorkerSilent {
            id: id.to_string(),
            location: location.to_string(),
            reason: status.message().to_string(),
        },
    })?;
    let hello = answered.ok_or_else(|| no_worker(own.not_understood("worker")))?;
    hello.check(&own, "worker").map_err(no_worker)
}

/// The answer to a short question, if it is the one expected.
///
/// # Errors
/// What is said instead, or nothing within `limit`.
pub async fn ask<A: Command>(channel: &Channel, question: &impl Command, limit: Duration) -> Result<Option<A>, Status> {
    let action = Action::new(type_of(question), question.pack());
    let answers = act(channel, action, limit).await?;
    let any = answers.first().and_then(|answer| Any::decode(answer.body.clone()).ok());
    Ok(any.and_then(|any| A::from_any(&any).ok().flatten()))
}

fn type_of<M: Command>(_: &M) -> &'static str {
    M::TYPE_URL
}

/// Has the worker load an extension.
///
/// # Errors
/// It can't, or does not answer.
pub async fn load_extension(worker: &RemoteWorker, name: &str) -> Result<()> {
    let action = Action::new(LoadExtension::TYPE_URL, LoadExtension { name: name.to_string() }.pack());
    let failed = |reason: &str| DriverError::WorkerSilent {
        id: worker.id.clone(),
        location: worker.location.clone(),
        reason: format!("cannot load extension '{name}': {reason}"),
    };
    tokio::select! {
        loaded = act(&worker.channel, action, LOAD_TIMEOUT) => match loaded {
            Ok(_) => Ok(()),
            Err(status) => Err(failed(status.message())),
        },
        reason = worker.gone() => Err(failed(&reason)),
    }
}

/// Has the worker do something, within `limit`; its answers.
async fn act(channel: &Channel, action: Action, limit: Duration) -> Result<Vec<Answer>, Status> {
    let mut client = FlightServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let call = async {
        let answers = client.do_action(action).await?.into_inner();
        answers.try_collect::<Vec<_>>().await
    };
    let late = |_| Status::deadline_exceeded(format!("no answer within {} s", limit.as_secs_f64()));
    tokio::time::timeout(limit, call).await.map_err(late)?
}
