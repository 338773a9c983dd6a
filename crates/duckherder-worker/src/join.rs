//! Telling a driver that there is a worker, again and again: it may not know yet, have been restarted, or have given the
//! worker up.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use duckherder_proto::any::Command;
use duckherder_proto::error::{Elsewhere, ErrorDetail};
use duckherder_proto::herd::{JoinHerd, Joined};
use prost::Message;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::attendance::Attendance;
use crate::error::{Result, WorkerError};

/// How long a call may take: the driver calls back before it answers.
const CALL_LIMIT: Duration = Duration::from_secs(15);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// When a call that waits has to show that its connection is alive, and how long that may take. (Packets that were lost
/// while a network was cut are sent again ever more seldom: a new connection is there much sooner than an old one.)
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// When to call again if the driver does not say.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A driver to work for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// `host:port` of the driver.
    pub driver: String,
    /// `host:port` under which driver and workers reach this worker; otherwise the address from which the driver sees it
    /// call, and the port on which it listens.
    pub advertise: Option<String>,
}

impl Join {
    /// # Errors
    /// An address is malformed.
    pub fn endpoint(&self) -> Result<Endpoint> {
        let is_address = |address: &str| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        for address in [Some(&self.driver), self.advertise.as_ref()].into_iter().flatten() {
            if !is_address(address) {
                return Err(WorkerError::Invalid(format!("'{address}' is not of the form host:port")));
            }
        }
        let endpoint = Endpoint::from_shared(format!("http://{}", self.driver));
        let endpoint = endpoint.map_err(|error| WorkerError::Invalid(format!("'{}': {error}", self.driver)))?;
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Ok(endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true))
    }
}

/// Joins for as long as the worker is there.
pub async fn attend(join: Join, endpoint: Endpoint, worker_id: String, port: u16, attendance: Arc<Attendance>) {
    let channel = endpoint.connect_lazy();
    let location = join.advertise.map(|authority| format!("grpc://{authority}")).unwrap_or_default();
    let mut problem = None;
    loop {
        let draining = attendance.is_draining();
        let call = JoinHerd {
            worker_id: worker_id.clone(),
            instance: attendance.instance,
            location: location.clone(),
            port: port.into(),
            draining,
        };
        let pause = match say(&channel, &call).await {
            Ok(Joined { again_after_ms }) => {
                if problem.take().is_some() {
                    tracing::info!(driver = join.driver, "the driver answers");
                }
                Duration::from_millis(again_after_ms.max(10))
            }
            Err(status) => {
                let reason = ErrorDetail::from_status(&status).message;
                if problem.as_ref() != Some(&reason) {
                    if ErrorDetail::from_status(&status).elsewhere() == Elsewhere::No {
                        tracing::warn!(driver = join.driver, reason, "cannot join; it is tried again and again");
                    } else {
                        tracing::info!(driver = join.driver, reason, "not joined until that is the driver");
                    }
                    problem = Some(reason);
                }
                AGAIN_AFTER
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = attendance.drains(), if !draining => {}
        }
    }
}

async fn say(channel: &Channel, call: &JoinHerd) -> Result<Joined, Status> {
    let mut client = FlightServiceClient::new(channel.clone());
    let action = Action::new(JoinHerd::TYPE_URL, call.pack());
    let answered =
        tokio::time::timeout(CALL_LIMIT, async { client.do_action(action).await?.into_inner().message().await });
    let answer = answered.await.map_err(|_| Status::deadline_exceeded("the driver does not answer"))??;
    let any = answer.and_then(|answer| Any::decode(answer.body).ok());
    let joined = any.and_then(|any| Joined::from_any(&any).ok().flatten());
    joined.ok_or_else(|| Status::unknown("the driver answers something else"))
}
