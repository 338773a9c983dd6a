//! A driver on a free port and a small client of the driver's own commands.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use arrow_flight::{Action, FlightDescriptor, Ticket};
use duckherder_driver::{Driver, DriverOptions};
use duckherder_proto::actions::{Empty, EndTransaction};
use duckherder_proto::any::Command;
use duckherder_proto::database::{DATABASE_HEADER, encode_name};
use duckherder_proto::error::ErrorDetail;
use duckherder_proto::statement::{
    ExecuteStatement, IngestResult, IngestRows, PrepareStatement, PreparedStatement, RunStatement,
};
use duckherder_proto::task::EndOfPartition;
use duckherder_proto::transaction::TransactionMark;
use duckherder_proto::{MAX_MESSAGE_BYTES, SESSION_HEADER, TRANSACTION_HEADER};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub fn driver() -> Driver {
    Driver::start(DriverOptions { listen: "127.0.0.1:0".to_string(), ..Default::default() }).unwrap()
}

/// One session of a client.
#[derive(Clone)]
pub struct Client {
    flight: FlightServiceClient<Channel>,
    session: String,
    database: Option<String>,
    pub in_transaction: bool,
    /// Sent with calls inside a transaction.
    pub mark: Option<TransactionMark>,
}

/// What a statement gave: its batches.
pub type Answer = Result<Vec<RecordBatch>, ErrorDetail>;

impl Client {
    pub async fn connect(driver: &Driver) -> Self {
        let endpoint = Channel::from_shared(format!("http://{}", driver.address())).unwrap();
        let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
        let flight = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { flight, session: uuid::Uuid::new_v4().to_string(), database: None, in_transaction: false, mark: None }
    }

    pub fn with_session(&self, session: &str) -> Self {
        Self { session: session.to_string(), ..self.clone() }
    }

    /// Another session, in a database.
    pub fn in_database(&self, name: &str) -> Self {
        Self { database: Some(encode_name(name)), ..self.with_session(&uuid::Uuid::new_v4().to_string()) }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(SESSION_HEADER, self.session.parse().unwrap());
        if let Some(database) = &self.database {
            request.metadata_mut().insert(DATABASE_HEADER, database.parse().unwrap());
        }
        if let Some(mark) = self.mark {
            request.metadata_mut().insert(TRANSACTION_HEADER, mark.to_string().parse().unwrap());
        }
        request
    }

    pub async fn prepare(&self, sql: &str) -> Result<(SchemaRef, PreparedStatement), ErrorDetail> {
        let command =
            PrepareStatement { sql: sql.to_string(), in_transaction: self.in_transaction, ..Default::default() };
        self.prepare_command(command).await
    }

    pub async fn prepare_command(
        &self,
        command: PrepareStatement,
    ) -> Result<(SchemaRef, PreparedStatement), ErrorDetail> {
        let descriptor = FlightDescriptor::new_cmd(command.pack());
        let info = self.flight.clone().get_flight_info(self.request(descriptor)).await.map_err(detail)?.into_inner();
        let prepared = unpack(&info.app_metadata);
        Ok((Arc::new(info.try_decode_schema().unwrap()), prepared))
    }

    /// A stream of rows; each batch, and an error if the stream lies about their number.
    pub async fn stream(&self, statement_id: u64, parameters: &[RecordBatch]) -> Result<Rows, ErrorDetail> {
        let ticket = ExecuteStatement {
            statement_id,
            parameters: parameters.first().map(ipc).unwrap_or_default(),
            in_transaction: self.in_transaction,
            ..Default::default()
        };
        let request = self.request(Ticket::new(ticket.pack()));
        let stream = self.flight.clone().do_get(request).await.map_err(detail)?.into_inner();
        Ok(Rows { decoder: FlightDataDecoder::new(stream.map_err(FlightError::from)), rows: 0, ended: false })
    }

    /// Prepares and runs in one call; the rows of what was only prepared are none.
    pub async fn run(&self, sql: &str, only_reading: bool) -> Result<(PreparedStatement, Rows), ErrorDetail> {
        let statement =
            PrepareStatement { sql: sql.to_string(), in_transaction: self.in_transaction, ..Default::default() };
        let run = RunStatement { statement: Some(statement), only_reading, run: 0 };
        let request = self.request(Ticket::new(run.pack()));
        let stream = self.flight.clone().do_get(request).await.map_err(detail)?.into_inner();
        let mut decoder = FlightDataDecoder::new(stream.map_err(FlightError::from));
        let first = decoder.next().await.expect("columns").expect("columns");
        assert!(matches!(first.payload, DecodedPayload::Schema(_)));
        Ok((unpack(&first.inner.app_metadata), Rows { decoder, rows: 0, ended: false }))
    }

    pub async fn query(&self, sql: &str) -> Answer {
        let (_, prepared) = self.prepare(sql).await?;
        self.stream(prepared.statement_id, &[]).await?.collect().await
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let batches = self.query(sql).await.unwrap();
        batches.iter().find(|batch| batch.num_rows() > 0).unwrap().column(0).as_primitive::<Int64Type>().value(0)
    }

    pub async fn ingest(&self, sql: &str, batches: Vec<RecordBatch>) -> Result<IngestResult, ErrorDetail> {
        let rows = futures::stream::iter(batches.into_iter().map(Ok));
        self.ingest_stream(sql, rows).await
    }

    pub async fn ingest_stream(
        &self,
        sql: &str,
        batches: impl futures::Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
    ) -> Result<IngestResult, ErrorDetail> {
        let command = IngestRows { sql: sql.to_string(), in_transaction: self.in_transaction, ..Default::default() };
        let messages = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command.pack())))
            .build(batches)
            .map(|message| message.expect("rows that encode"));
        let request = self.request(messages);
        let results: Vec<_> = self
            .flight
            .clone()
            .do_put(request)
            .await
            .map_err(detail)?
            .into_inner()
            .try_collect()
            .await
            .map_err(detail)?;
        Ok(unpack(&results[0].app_metadata))
    }

    pub async fn act<T: Command>(&self, message: impl Command) -> Result<T, ErrorDetail> {
        let action = Action::new(type_url(&message), message.pack());
        let answers = self.flight.clone().do_action(self.request(action)).await.map_err(detail)?.into_inner();
        let answers: Vec<_> = answers.try_collect().await.map_err(detail)?;
        Ok(unpack(&answers[0].body))
    }

    pub async fn end(&self, commit: bool) -> Result<(), ErrorDetail> {
        self.act::<Empty>(EndTransaction { commit }).await.map(|_| ())
    }
}

fn type_url<T: Command>(_: &T) -> &'static str {
    T::TYPE_URL
}

pub fn detail(status: Status) -> ErrorDetail {
    ErrorDetail::from_status(&status)
}

pub fn unpack<T: Command>(bytes: &[u8]) -> T {
    T::from_any(&Any::decode(bytes).unwrap()).unwrap().expect("the message asked for")
}

fn ipc(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// The rows of a running statement.
pub struct Rows {
    decoder: FlightDataDecoder,
    rows: u64,
    ended: bool,
}

impl Rows {
    pub async fn next(&mut self) -> Option<Result<RecordBatch, ErrorDetail>> {
        loop {
            let data = match self.decoder.next().await {
                Some(Ok(data)) => data,
                Some(Err(FlightError::Tonic(status))) => return Some(Err(detail(*status))),
                Some(Err(error)) => return Some(Err(ErrorDetail::new("IO", error.to_string()))),
                None if self.ended => return None,
                None => return Some(Err(ErrorDetail::new("IO", "the stream was cut"))),
            };
            if !data.inner.app_metadata.is_empty() {
                let end: EndOfPartition = unpack(&data.inner.app_metadata);
                assert_eq!(end.rows, self.rows);
                self.ended = true;
            }
            if let DecodedPayload::RecordBatch(batch) = data.payload {
                self.rows += batch.num_rows() as u64;
                return Some(Ok(batch));
            }
        }
    }

    pub async fn collect(mut self) -> Answer {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

pub async fn within<T>(seconds: f64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs_f64(seconds), future).await.expect("in time")
}
