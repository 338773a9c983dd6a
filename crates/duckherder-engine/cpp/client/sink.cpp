#include "sink.hpp"

#include "connection_state.hpp"
#include "transaction.hpp"

#include "duckdb/common/arrow/arrow_appender.hpp"
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
	SinkGlobal(ClientContext &context, shared_ptr<CatalogSession> session_p, const RemoteStatement &statement,
	           bool in_transaction, const vector<LogicalType> &types, const vector<string> &names)
	    : session(std::move(session_p)), ingest(context, session->session, statement, in_transaction, types, names) {
	}
	shared_ptr<CatalogSession> session;
	Ingest ingest;
	std::mutex lock;
	int64_t changed_rows = 0;
	shared_ptr<ArrowSource> returned;
};

struct SinkLocal : public LocalSinkState {
	SinkLocal(ClientContext &context, vector<LogicalType> types_p) : types(std::move(types_p)), options(ExactArrow(context)) {
		chunk.InitializeEmpty(types);
	}

	const vector<LogicalType> types;
	ClientProperties options;
	//! The columns that travel, referring to those of the input.
	DataChunk chunk;
	unique_ptr<ArrowAppender> appender;

	void Append(ClientContext &context) {
		if (!appender) {
			appender = make_uniq<ArrowAppender>(types, BATCH_ROWS, options,
			                                    ArrowTypeExtensionData::GetExtensionTypes(context, types));
		}
		appender->Append(chunk, 0, chunk.size(), chunk.size());
	}

	void Send(ClientContext &context, SinkGlobal &global) {
		if (!appender || appender->RowCount() == 0) {
			return;
		}
		ArrowArrayWrapper batch;
		batch.arrow_array = appender->Finalize();
		appender.reset();
		std::lock_guard<std::mutex> guard(global.lock);
		global.ingest.Write(context, batch.arrow_array);
	}
};

unique_ptr<GlobalSinkState> RemoteSink::GetGlobalSinkState(ClientContext &context) const {
	ConnectionState::Get(context)->NoteRemote(context);
	auto &transaction = RemoteTransaction::Get(context, catalog);
	vector<string> names;
	for (auto &column : columns) {
		names.push_back(column.name);
	}
	if (changes_catalog) {
		transaction.CatalogChanged();
	}
	return make_uniq<SinkGlobal>(context, transaction.GetSession(), catalog.MakeStatement(context, sql),
	                             transaction.StartInTransaction(context), ColumnTypes(), names);
}

unique_ptr<LocalSinkState> RemoteSink::GetLocalSinkState(ExecutionContext &context) const {
	return make_uniq<SinkLocal>(context.client, ColumnTypes());
}

SinkResultType RemoteSink::Sink(ExecutionContext &context, DataChunk &chunk, OperatorSinkInput &input) const {
	auto &local = input.local_state.Cast<SinkLocal>();
	for (idx_t i = 0; i < columns.size(); i++) {
		local.chunk.data[i].Reference(chunk.data[columns[i].input_index]);
	}
	local.chunk.SetChildCardinality(chunk.size());
	local.Append(context.client);
	if (local.appender->RowCount() >= BATCH_ROWS || local.appender->ByteSize() >= BATCH_BYTES) {
		local.Send(context.client, input.global_state.Cast<SinkGlobal>());
	}
	return SinkResultType::NEED_MORE_INPUT;
}

SinkCombineResultType RemoteSink::Combine(ExecutionContext &context, OperatorSinkCombineInput &input) const {
	input.local_state.Cast<SinkLocal>().Send(context.client, input.global_state.Cast<SinkGlobal>());
	return SinkCombineResultType::FINISHED;
}

SinkFinalizeType RemoteSink::Finalize(Pipeline &, Event &, ClientContext &context,
                                      OperatorSinkFinalizeInput &input) const {
	auto &global = input.global_state.Cast<SinkGlobal>();
	global.changed_rows = global.ingest.Finish(context, global.returned);
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
