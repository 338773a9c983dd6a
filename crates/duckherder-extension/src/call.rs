//! One connection to a driver, and the calls that it carries.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use duckherder_engine::{EngineError, Result};
use duckherder_proto::any::Command;
use duckherder_proto::database::DATABASE_HEADER;
use duckherder_proto::error::{Elsewhere, ErrorDetail};
use duckherder_proto::hello::Hello;
use duckherder_proto::{
    CONNECTION_WINDOW_BYTES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, SESSION_HEADER, TRANSACTION_HEADER,
};
use prost::Message;
use prost::bytes::Buf;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Status};

use crate::io_error;
use crate::lookout::Lookout;

/// A driver that does not answer by then is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A connection over which nothing comes is tried, so that a driver that disappeared is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of one stream that may be on their way.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;

/// A connection to a driver; clones share it.
#[derive(Clone)]
pub struct Line {
    /// No other of this process has it.
    pub number: u64,
    /// Whether another driver has taken over, where that can be.
    lookout: Option<Arc<Lookout>>,
    channel: Channel,
    client: FlightServiceClient<Channel>,
    /// `host:port`, for messages.
    pub address: String,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// `IO`, naming the place, if nobody answers there.
    pub async fn connect(host: &str, port: u16) -> Result<Self> {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let unreachable = |reason: &dyn std::error::Error| {
            io_error(format!("cannot reach a duckherder driver at {address}: {}", innermost(reason)))
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| unreachable(&error))?
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_LIMIT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES);
        let channel = endpoint.connect().await.map_err(|error| unreachable(&error))?;
        let client = FlightServiceClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        static LINES: AtomicU64 = AtomicU64::new(0);
        let number = LINES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, lookout: None, channel, client, address })
    }

    /// With somebody who looks, while calls wait, whether another driver has taken over.
    #[must_use]
    pub fn watched_by(self, lookout: Arc<Lookout>) -> Self {
        Self { lookout: Some(lookout), ..self }
    }

    /// Whether another driver has taken over.
    pub fn is_superseded(&self) -> bool {
        self.lookout.as_ref().is_some_and(|lookout| lookout.is_superseded())
    }

    /// Waits for an answer, unless another driver takes over meanwhile.
    ///
    /// # Errors
    /// That; or the answer's own.
    pub async fn unless_superseded<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(lookout) = &self.lookout else { return answer.await };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = lookout.superseded() => Err(EngineError::driver_lost(format!(
                "the duckherder driver at {} does not answer, and another one has taken over", self.address
            ))),
        }
    }

    /// Makes sure that it is a driver of our version that answers: what it says of itself.
    ///
    /// # Errors
    /// `IO`, with both versions.
    pub async fn greet(&self) -> Result<Hello> {
        let own = Hello::from("client");
        let no_driver = |reason| io_error(format!("can't work with what answers at {}: {reason}", self.address));
        let action = Action { r#type: Hello::TYPE_URL.to_string(), body: own.pack() };
        let answer = match self.client().do_action(action).await {
            Ok(mut answer) => answer.get_mut().message().await,
            Err(status) => Err(status),
        };
        let answer = answer.map_err(|status| match status.code() {
            Code::Unimplemented | Code::InvalidArgument | Code::NotFound => no_driver(own.not_understood("driver")),
            _ => self.error(&status),
        })?;
        let hello: Hello = self.unpack(answer.map(|answer| answer.body).unwrap_or_default())?;
        hello.check(&own, "driver").map_err(no_driver)?;
        Ok(hello)
    }

    pub fn client(&self) -> FlightServiceClient<Channel> {
        self.client.clone()
    }

    /// A client whose calls go through a channel of its own over this connection.
    pub fn client_over<T: GrpcService<Body>>(&self, make: impl FnOnce(Channel) -> T) -> FlightServiceClient<T>
    where
        T::Error: Into<StdError>,
        T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
        <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
    {
        FlightServiceClient::new(make(self.channel.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The error inside a status, which names the driver if it is the connection that failed.
    pub fn error(&self, status: &Status) -> EngineError {
        let own = status.metadata().get_bin(duckherder_proto::ERROR_HEADER).is_some();
        if !own
            && matches!(
                status.code(),
                Code::Unavailable
                    | Code::Unknown
                    | Code::Internal
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
            )
        {
            let text = format!("lost the duckherder driver at {}: {}", self.address, innermost(status));
            return match not_sent(status) {
                true => EngineError::driver_elsewhere(text),
                false => EngineError::driver_lost(text),
            };
        }
        let detail = ErrorDetail::from_status(status);
        match detail.elsewhere() {
            Elsewhere::No => detail.into(),
            Elsewhere::NothingDone => EngineError::driver_elsewhere(self.said(&detail)),
            Elsewhere::OutcomeUnknown => EngineError::driver_lost(self.said(&detail)),
        }
    }

    fn said(&self, detail: &ErrorDetail) -> String {
        format!("the duckherder driver at {} says: {}", self.address, detail.message)
    }

    /// An action and its one answer.
    ///
    /// # Errors
    /// What the driver says, or that it does not answer.
    pub fn action<A: Command, M: Command>(
        &self,
        place: Option<&Place>,
        message: &M,
    ) -> impl Future<Output = Result<A>> + Send + use<A, M> {
        let (line, body) = (self.clone(), message.pack());
        let action = Action { r#type: M::TYPE_URL.to_string(), body };
        let request = in_place(action, place);
        async move {
            let answer = line.client().do_action(request).await.map_err(|status| line.error(&status))?;
            let answer = answer.into_inner().message().await.map_err(|status| line.error(&status))?;
            let answer = answer.ok_or_else(|| io_error(format!("the driver at {} gave no answer", line.address)))?;
            line.unpack(answer.body)
        }
    }

    /// The message that an answer is.
    ///
    /// # Errors
    /// It is another, or none.
    pub fn unpack<A: Command>(&self, answer: impl Buf) -> Result<A> {
        let any = Any::decode(answer).map_err(|error| malformed(&error))?;
        A::from_any(&any)
            .map_err(|error| malformed(&error))?
            .ok_or_else(|| io_error(format!("the driver at {} answered '{}'", self.address, any.type_url)))
    }
}

/// What was meant by an answer can't be read.
pub fn malformed(error: &dyn std::error::Error) -> EngineError {
    io_error(format!("the driver's answer is malformed: {error}"))
}

/// Whether a call has failed since there was no connection to carry it.
fn not_sent(status: &Status) -> bool {
    let mut current: Option<&dyn std::error::Error> = Some(status);
    while let Some(error) = current {
        if error.is::<ConnectError>() {
            return true;
        }
        current = error.source();
    }
    false
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

/// The value of a header.
pub type Header = MetadataValue<Ascii>;

/// What a call belongs to.
#[derive(Clone)]
pub struct Place {
    /// The session's name.
    pub session: Header,
    /// The database that the session works in; nothing: the default one.
    pub database: Option<Header>,
    /// The transaction's mark.
    pub transaction: Option<Header>,
}

/// A request in a session, or in none.
pub fn in_place<T>(message: T, place: Option<&Place>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(place) = place {
        request.metadata_mut().insert(SESSION_HEADER, place.session.clone());
        if let Some(database) = &place.database {
            request.metadata_mut().insert(DATABASE_HEADER, database.clone());
        }
        if let Some(transaction) = &place.transaction {
            request.metadata_mut().insert(TRANSACTION_HEADER, transaction.clone());
        }
    }
    request
}
