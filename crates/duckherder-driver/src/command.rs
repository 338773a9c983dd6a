//! Telling a driver in another process what to do, and asking it, for the command line.

use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use duckherder_proto::any::Command;
use duckherder_proto::error::ErrorDetail;
use duckherder_proto::hello::Hello;
use prost::Message;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::error::{DriverError, Result};
use crate::server::{KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Has the driver at `host:port` do something, however long that takes while the driver is there: its answer; blocks.
///
/// # Errors
/// Nobody of our version answers there, or what the driver says.
pub fn ask<A: Command, M: Command>(address: &str, message: &M) -> Result<A> {
    with(address, async |mut client, _| {
        let answer = act(&mut client, message).await;
        let answer = answer.map_err(|status| DriverError::Engine(ErrorDetail::from_status(&status).into()))?;
        let other = || no_driver(address, format!("it answers '{}'", answer.type_url));
        A::from_any(&answer).ok().flatten().ok_or_else(other)
    })
}

/// What the driver at `host:port` says of itself; blocks.
///
/// # Errors
/// Nobody of our version answers there.
pub fn greet(address: &str) -> Result<Hello> {
    with(address, async |_, hello| Ok(hello))
}

fn no_driver(address: &str, reason: String) -> DriverError {
    DriverError::Unreachable { address: address.to_string(), reason }
}

/// Connects, finds out who answers, and does `work` with it.
fn with<T>(address: &str, work: impl AsyncFnOnce(FlightServiceClient<Channel>, Hello) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DriverError::Runtime)?;
    runtime.block_on(async {
        let silent = |error: &dyn std::error::Error| {
            no_driver(address, error.source().map_or_else(|| error.to_string(), ToString::to_string))
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| silent(&error))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| silent(&error))?;
        let mut client = FlightServiceClient::new(channel);
        let own = Hello::from("client");
        let unknown = || no_driver(address, own.not_understood("driver"));
        let late = |_| no_driver(address, format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, act(&mut client, &own)).await.map_err(late)?;
        let answer = answer.map_err(|status| match status.code() {
            Code::Unimplemented | Code::InvalidArgument | Code::NotFound => unknown(),
            _ => no_driver(address, status.message().to_string()),
        })?;
        let hello = Hello::from_any(&answer).ok().flatten().ok_or_else(unknown)?;
        hello.check(&own, "driver").map_err(|reason| no_driver(address, reason))?;
        work(client, hello).await
    })
}

async fn act<M: Command>(client: &mut FlightServiceClient<Channel>, message: &M) -> Result<Any, tonic::Status> {
    let action = Action { r#type: M::TYPE_URL.to_string(), body: message.pack() };
    let answer = client.do_action(action).await?.into_inner().message().await?;
    let answer = answer.ok_or_else(|| tonic::Status::internal("the driver ended the call without an answer"))?;
    Any::decode(answer.body).map_err(|error| tonic::Status::internal(error.to_string()))
}
