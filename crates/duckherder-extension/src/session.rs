//! One session on a driver: its statements, its transaction, the catalog as it sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::sql::Any;
use arrow_flight::{FlightDescriptor, Ticket};
use duckherder_engine::client::{Patience, Prepared, RemoteIngest, RemoteSession, StatementText};
use duckherder_engine::{BatchSource, EngineError, Result};
use duckherder_proto::actions::{Catalog, CloseStatement, DescribeCatalog, Empty, EndSession, EndTransaction};
use duckherder_proto::any::Command;
use duckherder_proto::statement::{ExecuteStatement, PrepareStatement, PreparedStatement, ResultKind};
use prost::Message;
use uuid::Uuid;

use crate::call::{Header, Line, Place, in_place, malformed};
use crate::ingest::Ingest;
use crate::io_error;
use crate::rows::Rows;
use crate::runtime::{runtime, wait, wait_at_most};
use crate::transaction::TransactionState;

/// Rolling back takes no longer than this, or the driver is lost and does it by itself.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(30);

/// A session; the driver makes it when it first hears its name.
pub struct Session {
    line: Line,
    name: Header,
    transaction: Arc<TransactionState>,
    /// The columns of statements that were prepared and not run.
    prepared: Mutex<HashMap<u64, SchemaRef>>,
}

impl Session {
    /// A session with a name of its own.
    ///
    /// # Errors
    /// The name does not make a header; it always does.
    pub fn open(line: Line) -> Result<Self> {
        let name = Header::try_from(Uuid::new_v4().to_string()).map_err(|error| malformed(&error))?;
        Ok(Self { line, name, transaction: Arc::default(), prepared: Mutex::new(HashMap::new()) })
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<u64, SchemaRef>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call belongs to.
    fn place(&self, in_transaction: bool) -> Place {
        let transaction =
            if in_transaction { Header::try_from(self.transaction.mark().to_string()).ok() } else { None };
        Place { session: self.name.clone(), transaction }
    }

    /// The driver has answered a call.
    fn answered(&self, in_transaction: bool) {
        if in_transaction {
            self.transaction.answered();
        }
    }

    /// Tells the driver something whose answer nobody waits for.
    fn tell(&self, message: impl Command + 'static) {
        let (line, place) = (self.line.clone(), self.place(false));
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move {
                if let Err(error) = line.action::<Empty>(Some(&place), &message).await {
                    tracing::debug!(%error, "a driver was told something and did not like it");
                }
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tell(EndSession {});
    }
}

/// One row of parameters as an Arrow IPC stream.
fn encode_parameters(parameters: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let Some(batch) = parameters else { return Ok(Vec::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

impl RemoteSession for Session {
    fn prepare(
        &self,
        statement: &StatementText,
        parameters: Option<&RecordBatch>,
        patience: &Patience,
    ) -> Result<Prepared> {
        let message = PrepareStatement {
            sql: statement.sql.clone(),
            user_sql: statement.user_sql.clone(),
            settings: statement.settings.clone(),
            in_transaction: statement.in_transaction,
            parameters: encode_parameters(parameters)?,
        };
        let place = self.place(statement.in_transaction);
        let info = wait(patience, async {
            let descriptor = FlightDescriptor::new_cmd(message.pack());
            let mut client = self.line.client();
            let answer = client.get_flight_info(in_place(descriptor, Some(&place))).await;
            Ok(answer.map_err(|status| self.line.error(&status))?.into_inner())
        })?;
        self.answered(statement.in_transaction);
        let any = Any::decode(info.app_metadata.clone()).map_err(|error| malformed(&error))?;
        let prepared = PreparedStatement::from_any(&any)
            .map_err(|error| malformed(&error))?
            .ok_or_else(|| io_error(format!("the driver at {} prepared nothing", self.line.address)))?;
        let schema = Arc::new(info.try_decode_schema()?);
        self.prepared().insert(prepared.statement_id, Arc::clone(&schema));
        Ok(Prepared {
            statement_id: prepared.statement_id,
            kind: ResultKind::try_from(prepared.kind).map_err(|error| malformed(&error))?,
            read_only: prepared.read_only,
            schema,
        })
    }

    fn close_statement(&self, statement_id: u64) {
        if self.prepared().remove(&statement_id).is_some() {
            self.tell(CloseStatement { statement_id });
        }
    }

    fn execute(
        &self,
        statement_id: u64,
        in_transaction: bool,
        user_sql: &str,
        patience: &Patience,
    ) -> Result<Arc<dyn BatchSource>> {
        let schema = self
            .prepared()
            .remove(&statement_id)
            .ok_or_else(|| EngineError::internal(format!("statement {statement_id} was not prepared")))?;
        let message = ExecuteStatement {
            statement_id,
            parameters: Vec::new(),
            in_transaction,
            close_after: true,
            user_sql: user_sql.to_string(),
        };
        let place = self.place(in_transaction);
        let stream = wait(patience, async {
            let mut client = self.line.client();
            let answer = client.do_get(in_place(Ticket::new(message.pack()), Some(&place))).await;
            Ok(answer.map_err(|status| self.line.error(&status))?.into_inner())
        })?;
        self.answered(in_transaction);
        Ok(Arc::new(Rows::receive(self.line.clone(), schema, stream)?))
    }

    fn end_transaction(&self, commit: bool, patience: &Patience) -> Result<()> {
        let message = EndTransaction { commit };
        let place = self.place(true);
        self.transaction.ends();
        let ended = self.line.action::<Empty>(Some(&place), &message);
        if commit {
            wait(patience, ended)?;
        } else {
            let what = format!("the driver at {}", self.line.address);
            wait_at_most(ROLLBACK_LIMIT, &what, patience, ended)?;
        }
        Ok(())
    }

    fn describe(&self, known_version: Option<u64>, in_transaction: bool, patience: &Patience) -> Result<Catalog> {
        let place = self.place(in_transaction);
        let described =
            wait(patience, self.line.action(Some(&place), &DescribeCatalog { known_version, in_transaction }))?;
        self.answered(in_transaction);
        Ok(described)
    }

    fn ingest(
        &self,
        statement: &StatementText,
        schema: SchemaRef,
        _patience: &Patience,
    ) -> Result<Box<dyn RemoteIngest>> {
        let place = self.place(statement.in_transaction);
        Ok(Box::new(Ingest::begin(self.line.clone(), place, Arc::clone(&self.transaction), statement, schema)?))
    }
}
