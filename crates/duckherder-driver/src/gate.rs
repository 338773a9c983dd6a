//! Where all calls come in and all answers go out: a driver that is a standby refuses them, as does one whose DuckDB has
//! failed, and one that may no longer answer for its databases answers nothing.
//!
//! ```text
//!   call --> [standby? fenced? failed?] --> service --> what it did --> [still ours?] --> answer
//! ```
//!
//! The lease is looked at before each answer, and each part of one that streams, once that is made. What an answer
//! acknowledges was durable by then, and the rows in it are of a snapshot of before.

use std::sync::{Arc, Mutex, OnceLock};

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use duckherder_proto::any::Command;
use duckherder_proto::error::Elsewhere;
use duckherder_proto::hello::{DriverState, Hello};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::connections::Connections;
use crate::error::DriverError;
use crate::health::Health;
use crate::lease::Lease;
use crate::service::{DriverService, Shared};
use crate::sync::lock;

/// Messages of a stream that are ready share a look at the lease.
const AT_ONCE: usize = 4;

/// A driver as its callers see it.
#[derive(Default)]
pub struct Gate {
    active: OnceLock<Active>,
    /// Whose place a standby would take.
    waits_for: Mutex<String>,
    /// Of its callers.
    connections: Arc<Connections>,
}

struct Active {
    service: DriverService,
    lease: Option<Arc<dyn Lease>>,
    health: Arc<Health>,
}

impl Active {
    /// Before anything is done.
    fn enter(&self) -> Result<(), Status> {
        self.health.check()?;
        self.lease.as_ref().map_or(Ok(()), |lease| lease.glance()).map_err(Status::from)
    }

    /// Before anybody hears of it. What failed may have failed because the driver was fenced, or over what nobody else
    /// will ever see.
    fn leave<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        leave(self.lease.as_ref())?;
        self.health.pass(answer)
    }

    /// The same of an answer whose parts follow.
    fn leave_in_parts<T: Send + 'static>(
        &self,
        answer: Result<Response<impl Stream<Item = Result<T, Status>> + Send + 'static>, Status>,
    ) -> Result<Response<Answers<T>>, Status> {
        match answer {
            Ok(answer) => Ok(answer.map(|parts| checked(self, parts))),
            Err(status) => self.leave(Err(status)),
        }
    }
}

fn leave(lease: Option<&Arc<dyn Lease>>) -> Result<(), Status> {
    let Some(lease) = lease else { return Ok(()) };
    lease.check().map_err(|error| {
        let mut detail = error.detail();
        detail.message = format!("whether the statement was carried out is not known: {}", detail.message);
        detail.elsewhere = Elsewhere::OutcomeUnknown.into();
        detail.into_status()
    })
}

impl Gate {
    /// From now on calls are let through.
    pub fn open(&self, shared: Arc<Shared>) {
        let lease = shared.databases.lease();
        let health = Arc::new(Health::of(Arc::downgrade(&shared.databases)));
        shared.sessions.watch(self.connections());
        // A gate is opened once.
        let _ = self.active.set(Active { service: DriverService(shared), lease, health });
    }

    /// No more calls come in, and what runs may fail, since the driver ends.
    pub fn end(&self) {
        if let Some(active) = self.active.get() {
            active.health.end();
        }
    }

    /// Waits until the DuckDB of an active driver can't go on.
    pub fn failed(&self) -> impl Future<Output = DriverError> + Send + use<> {
        let failed = self.active.get().map(|active| active.health.failed());
        async move {
            match failed {
                Some(failed) => failed.await,
                None => std::future::pending().await,
            }
        }
    }

    /// The connections of its callers.
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// What the driver has, once it is active.
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.active.get().map(|active| &active.service.0)
    }

    /// Whom a standby names to those whom it refuses.
    pub fn wait_for(&self, address: &str) {
        address.clone_into(&mut lock(&self.waits_for));
    }

    /// # Errors
    /// The driver is a standby, or fenced.
    fn enter(&self) -> Result<&Active, Status> {
        let Some(active) = self.active.get() else {
            return Err(DriverError::Standby { waits_for: lock(&self.waits_for).clone() }.into());
        };
        active.enter()?;
        Ok(active)
    }

    fn hello(&self) -> Hello {
        let hello = Hello::from("driver");
        match self.active.get() {
            None => Hello { state: DriverState::Standby.into(), waits_for: lock(&self.waits_for).clone(), ..hello },
            Some(Active { lease: Some(lease), health, .. }) => {
                let answers = lease.check().is_ok() && health.check().is_ok();
                let state = if answers { DriverState::Active } else { DriverState::Fenced };
                let databases = lease.databases().to_string();
                Hello { state: state.into(), epoch: lease.epoch(), databases, ..hello }
            }
            Some(_) => hello,
        }
    }
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// A stream, each of whose parts goes out while the lease is ours.
fn checked<T: Send + 'static>(
    active: &Active,
    parts: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Answers<T> {
    let health = Arc::clone(&active.health);
    let parts = parts.map(move |part| health.pass(part));
    let Some(lease) = active.lease.clone() else { return parts.boxed() };
    let parts = parts.ready_chunks(AT_ONCE).map(move |ready| match leave(Some(&lease)) {
        Ok(()) => ready,
        Err(status) => vec![Err(status)],
    });
    parts.flat_map(futures::stream::iter).boxed()
}

/// The gate of a driver, as tonic wants it.
pub struct Guarded(pub Arc<Gate>);

#[tonic::async_trait]
impl FlightService for Guarded {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<ActionResult>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::handshake(&active.service, request).await)
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::list_flights(&active.service, request).await)
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let active = self.0.enter()?;
        active.leave(FlightService::get_flight_info(&active.service, request).await)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let active = self.0.enter()?;
        active.leave(FlightService::poll_flight_info(&active.service, request).await)
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let active = self.0.enter()?;
        active.leave(FlightService::get_schema(&active.service, request).await)
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::do_get(&active.service, request).await)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::do_put(&active.service, request).await)
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::do_exchange(&active.service, request).await)
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        if request.get_ref().r#type == Hello::TYPE_URL {
            let answer = ActionResult::new(self.0.hello().pack());
            return Ok(Response::new(futures::stream::iter([Ok(answer)]).boxed()));
        }
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::do_action(&active.service, request).await)
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let active = self.0.enter()?;
        active.leave_in_parts(FlightService::list_actions(&active.service, request).await)
    }
}
