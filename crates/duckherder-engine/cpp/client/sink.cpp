#include "sink.hpp"

#include "batch_appender.hpp"
#include "connection_state.hpp"
#include "transaction.hpp"
#include "wire_storage.hpp"

#include "duckdb/common/types/column/column_data_collection.hpp"
#include "duckdb/main/client_context.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

const char *const INPUT_NAME = "duckherder_input";

//! A batch goes out when it has as many rows as a row group, or this many bytes.
static constexpr idx_t BATCH_ROWS = 122880;
static constexpr idx_t BATCH_BYTES = 8 << 20;

RemoteSink::RemoteSink(PhysicalPlan &plan, RemoteCatalog &catalog_p, string sql_p, vector<SinkColumn> columns_p,
                       vector<LogicalType> types, bool returns_rows_p, bool changes_catalog_p, bool parallel_p,
                       idx_t estimated_cardinality)
    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, std::move(types), estimated_cardinality),
      catalog(catalog_p), sql(std::move(sql_p)), columns(std::move(columns_p)), returns_rows(returns_rows_p),
      changes_catalog(changes_catalog_p), parallel(parallel_p) {
}

InsertionOrderPreservingMap<string> RemoteSink::ParamsToString() const {
	InsertionOrderPreservingMap<string> result;
	result["Driver"] = catalog.GetDBPath();
	result["SQL"] = sql;
	return result;
}

vector<LogicalType> RemoteSink::ColumnTypes() const {
	vector<LogicalType> result;
	for (auto &column : columns) {
		result.push_back(column.type);
	}
	return result;
}

struct SinkGlobal : public GlobalSinkState {
	shared_ptr<CatalogSession> session;
	//! Rows of a plan that reads from the driver, too, wait until that is done: a session runs one statement at a time.
	bool wait_for_all = false;
	unique_ptr<Ingest> ingest;
	std::mutex lock;
	unique_ptr<ColumnDataCollection> waiting;
	int64_t changed_rows = 0;
	shared_ptr<ArrowSource> returned;
};

//! Chunks on their way into Arrow batches.
class BatchMaker {
public:
	BatchMaker(ClientContext &context, const vector<LogicalType> &types)
	    : context(context), types(TravellingTypes(types)), options(ExactArrow(context, this->types)) {
	}

	//! Adds a chunk; sends once there are enough.
	void Add(DataChunk &chunk, SinkGlobal &global) {
		if (!appender) {
			appender = make_uniq<BatchAppender>(types, BATCH_ROWS, options,
			                                    ArrowTypeExtensionData::GetExtensionTypes(context, types));
		}
		if (chunk.GetTypes() == types) {
			appender->Append(chunk, 0, chunk.size());
		} else {
			DataChunk travelling;
			ToTravellingTypes(chunk, travelling);
			appender->Append(travelling, 0, chunk.size());
		}
		if (appender->RowCount() >= BATCH_ROWS || appender->ByteSize() >= BATCH_BYTES) {
			Send(global);
		}
	}

	void Send(SinkGlobal &global) {
		if (!appender || appender->RowCount() == 0) {
			return;
		}
		ArrowArrayWrapper batch;
		batch.arrow_array = appender->Finalize();
		appender.reset();
		std::lock_guard<std::mutex> guard(global.lock);
		global.ingest->Write(context, batch.arrow_array);
	}

private:
	ClientContext &context;
	const vector<LogicalType> types;
	ClientProperties options;
	unique_ptr<BatchAppender> appender;
};

struct SinkLocal : public LocalSinkState {
	SinkLocal(ClientContext &context, const vector<LogicalType> &types, const SinkGlobal &global)
	    : batches(context, types) {
		chunk.InitializeEmpty(types);
		if (global.wait_for_all) {
			waiting = make_uniq<ColumnDataCollection>(context, types);
		}
	}

	//! The columns that travel, referring to those of the input.
	DataChunk chunk;
	BatchMaker batches;
	unique_ptr<ColumnDataCollection> waiting;
};

unique_ptr<Ingest> RemoteSink::BeginIngest(ClientContext &context, CatalogSession &session) const {
	auto &transaction = RemoteTransaction::Get(context, catalog);
	vector<string> names;
	for (auto &column : columns) {
		names.push_back(column.name);
	}
	if (changes_catalog) {
		transaction.CatalogChanged();
	}
	transaction.Ingests(context);
	return make_uniq<Ingest>(context, session.session, catalog.MakeStatement(context, sql),
	                         transaction.StartInTransaction(context), ColumnTypes(), names);
}

unique_ptr<GlobalSinkState> RemoteSink::GetGlobalSinkState(ClientContext &context) const {
	ConnectionState::Get(context)->NoteRemote(context);
	auto &transaction = RemoteTransaction::Get(context, catalog);
	auto state = make_uniq<SinkGlobal>();
	state->session = transaction.GetSession();
	state->wait_for_all = transaction.MustWait(context);
	return std::move(state);
}

unique_ptr<LocalSinkState> RemoteSink::GetLocalSinkState(ExecutionContext &context) const {
	return make_uniq<SinkLocal>(context.client, ColumnTypes(), sink_state->Cast<SinkGlobal>());
}

//! Not before there are rows: what they are made of may have to ask the driver first what there is (duckdb_tables()).
void RemoteSink::Begin(ClientContext &context, SinkGlobal &global) const {
	std::lock_guard<std::mutex> guard(global.lock);
	if (!global.ingest) {
		global.ingest = BeginIngest(context, *global.session);
	}
}

SinkResultType RemoteSink::Sink(ExecutionContext &context, DataChunk &chunk, OperatorSinkInput &input) const {
	auto &local = input.local_state.Cast<SinkLocal>();
	for (idx_t i = 0; i < columns.size(); i++) {
		local.chunk.data[i].Reference(chunk.data[columns[i].input_index]);
	}
	local.chunk.SetChildCardinality(chunk.size());
	if (local.waiting) {
		local.waiting->Append(local.chunk);
	} else {
		auto &global = input.global_state.Cast<SinkGlobal>();
		Begin(context.client, global);
		local.batches.Add(local.chunk, global);
	}
	return SinkResultType::NEED_MORE_INPUT;
}

SinkCombineResultType RemoteSink::Combine(ExecutionContext &, OperatorSinkCombineInput &input) const {
	auto &global = input.global_state.Cast<SinkGlobal>();
	auto &local = input.local_state.Cast<SinkLocal>();
	if (!local.waiting) {
		local.batches.Send(global);
		return SinkCombineResultType::FINISHED;
	}
	std::lock_guard<std::mutex> guard(global.lock);
	if (global.waiting) {
		global.waiting->Combine(*local.waiting);
	} else {
		global.waiting = std::move(local.waiting);
	}
	return SinkCombineResultType::FINISHED;
}

SinkFinalizeType RemoteSink::Finalize(Pipeline &, Event &, ClientContext &context,
                                      OperatorSinkFinalizeInput &input) const {
	auto &global = input.global_state.Cast<SinkGlobal>();
	Begin(context, global);
	if (global.wait_for_all) {
		BatchMaker batches(context, ColumnTypes());
		if (global.waiting) {
			for (auto &chunk : global.waiting->Chunks()) {
				batches.Add(chunk, global);
			}
		}
		batches.Send(global);
		global.waiting.reset();
	}
	global.changed_rows = global.ingest->Finish(context, global.returned);
	RemoteTransaction::Get(context, catalog).Ingested();
	return SinkFinalizeType::READY;
}

//! What the operator gives: one count, or the rows that the statement returned.
struct SinkSource : public GlobalSourceState {
	SinkSource(ClientContext &context, const RemoteSink &op, SinkGlobal &sink, bool returns_rows) {
		if (!returns_rows) {
			return;
		}
		if (!sink.returned) {
			throw IOException("the driver did not send the rows of a RETURNING clause");
		}
		source = sink.returned;
		ArrowSchemaWrapper schema;
		source->Schema(schema.arrow_schema);
		columns = make_uniq<ArrowSourceColumns>(context, schema.arrow_schema);
		if (columns->types.size() != op.types.size()) {
			throw IOException("the driver sent %d columns of a RETURNING clause, not %d", columns->types.size(),
			                  op.types.size());
		}
		vector<column_t> column_ids;
		for (idx_t i = 0; i < op.types.size(); i++) {
			column_ids.push_back(i);
		}
		reader = make_uniq<ArrowBatchReader>(context, *columns, column_ids);
	}
	shared_ptr<ArrowSource> source;
	unique_ptr<ArrowSourceColumns> columns;
	unique_ptr<ArrowBatchReader> reader;
	bool done = false;
};

unique_ptr<GlobalSourceState> RemoteSink::GetGlobalSourceState(ClientContext &context) const {
	return make_uniq<SinkSource>(context, *this, sink_state->Cast<SinkGlobal>(), returns_rows);
}

SourceResultType RemoteSink::GetDataInternal(ExecutionContext &context, DataChunk &chunk,
                                             OperatorSourceInput &input) const {
	auto &state = input.global_state.Cast<SinkSource>();
	if (state.done) {
		return SourceResultType::FINISHED;
	}
	if (!returns_rows) {
		chunk.data[0].Append(Value::BIGINT(sink_state->Cast<SinkGlobal>().changed_rows));
		state.done = true;
		return SourceResultType::FINISHED;
	}
	while (!state.reader->Read(chunk)) {
		ArrowArray batch;
		if (!state.source->Wait(context.client, 0, batch)) {
			state.done = true;
			return SourceResultType::FINISHED;
		}
		state.reader->SetBatch(batch);
	}
	return SourceResultType::HAVE_MORE_OUTPUT;
}

} // namespace duckherder
