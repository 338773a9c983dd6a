#include "driver.hpp"

#include "duckdb/common/arrow/arrow_appender.hpp"
#include "duckdb/common/arrow/arrow_converter.hpp"
#include "duckdb/main/client_config.hpp"
#include "exact_arrow_format.hpp"
#include "wire_parameter.hpp"
#include "wire_type.hpp"
#include "wire_storage.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const DhClientTable *rust_table = nullptr;

const DhClientTable &Rust() {
	return *rust_table;
}

void SetRust(const DhClientTable *table) {
	rust_table = table;
}

static bool IsInterrupted(void *context) {
	return static_cast<ClientContext *>(context)->IsInterrupted();
}

DhPatience PatienceOf(ClientContext &context) {
	return DhPatience {IsInterrupted, &context};
}

ClientProperties ExactArrow(ClientContext &context, const vector<LogicalType> &types) {
	ClientProperties properties;
	properties.client_context = context;
	return ExactArrow(std::move(properties), types);
}

LeavingColumns::LeavingColumns(ClientContext &context, const vector<LogicalType> &types, const vector<string> &names) {
	auto travelling = TravellingTypes(types);
	auto properties = ExactArrow(context, travelling);
	ExactArrowSchema(schema.arrow_schema, travelling, names, properties);
	for (auto &type : types) {
		type_names.push_back(WireTypeName(type));
	}
	NameTypes();
}

static vector<LogicalType> TypesOf(const RemoteParameters &parameters) {
	vector<LogicalType> types;
	for (auto &parameter : parameters) {
		types.push_back(parameter.second.GetValue().type());
	}
	return types;
}

static vector<string> NamesOf(const RemoteParameters &parameters) {
	vector<string> names;
	for (auto &parameter : parameters) {
		names.push_back(parameter.first);
	}
	return names;
}

LeavingColumns::LeavingColumns(ClientContext &context, const RemoteParameters &parameters)
    : LeavingColumns(context, TypesOf(parameters), NamesOf(parameters)) {
	for (idx_t i = 0; i < parameters.size(); i++) {
		type_names[i] = ParameterTypeName(parameters[i].second);
	}
	NameTypes();
}

void LeavingColumns::NameTypes() {
	type_texts.clear();
	for (auto &name : type_names) {
		type_texts.push_back(ToText(name));
	}
	columns = DhColumnTypes {&schema.arrow_schema, type_texts.data(), type_texts.size()};
}

//! A statement as the functions of Rust take it; borrows from `source`.
struct BorrowedStatement {
	BorrowedStatement(const RemoteStatement &source, bool in_transaction) {
		for (auto &setting : source.settings) {
			settings.push_back(DhSetting {ToText(setting.name), {ToText(setting.value), setting.present}});
		}
		text = DhStatementText {ToText(source.sql), ToText(source.user_sql), settings.data(), settings.size(),
		                        in_transaction, false};
	}
	vector<DhSetting> settings;
	DhStatementText text;
};

string DriverPlace::ToString() const {
	auto several = host.find(',') != string::npos;
	auto text = several ? host : host + ":" + to_string(port);
	return database ? text + "/" + *database : text;
}

Driver::Driver(ClientContext &context, const DriverPlace &place) {
	DhOptionalText database {{"", 0}, false};
	if (place.database) {
		database = {ToText(*place.database), true};
	}
	DhError error {nullptr, nullptr};
	handle = Rust().driver_connect(ToText(place.host), place.port, database, place.create_if_missing,
	                               PatienceOf(context), &error);
	ThrowIfError(error);
}

Driver::~Driver() {
	Rust().driver_free(handle);
}

Session::Session(const Driver &driver) {
	DhError error {nullptr, nullptr};
	handle = Rust().session_open(driver.Handle(), &error);
	ThrowIfError(error);
}

Session::~Session() {
	Rust().session_free(handle);
}

void Session::Prepare(ClientContext &context, const RemoteStatement &statement, bool in_transaction,
                      const RemoteParameters &parameters, DhStart start, PreparedRemote &result) {
	BorrowedStatement borrowed(statement, in_transaction);
	borrowed.text.watched = ClientConfig::GetConfig(context).enable_progress_bar;
	DhPrepared prepared;
	DhError error {nullptr, nullptr};
	if (parameters.empty()) {
		Rust().session_prepare(handle, &borrowed.text, nullptr, nullptr, start, PatienceOf(context), &prepared,
		                       &result.schema.arrow_schema, &error);
	} else {
		DataChunk row;
		row.Initialize(context, TypesOf(parameters));
		for (idx_t i = 0; i < parameters.size(); i++) {
			row.data[i].Append(parameters[i].second.GetValue());
		}
		LeavingColumns columns(context, parameters);
		ArrowArrayWrapper values;
		DataChunk travelling;
		ToTravellingTypes(row, travelling);
		auto properties = ExactArrow(context, travelling.GetTypes());
		ArrowConverter::ToArrowArray(travelling, &values.arrow_array, properties,
		                             ArrowTypeExtensionData::GetExtensionTypes(context, travelling.GetTypes()));
		Rust().session_prepare(handle, &borrowed.text, columns.Get(), &values.arrow_array, start, PatienceOf(context),
		                       &prepared, &result.schema.arrow_schema, &error);
	}
	ThrowIfError(error);
	result.statement = prepared.statement;
	result.kind = static_cast<StatementReturnType>(prepared.kind);
	result.read_only = prepared.read_only;
}

void Session::CloseStatement(uint64_t statement) {
	Rust().session_close_statement(handle, statement);
}

shared_ptr<ArrowSource> Session::Run(ClientContext &context, const RemoteStatement &statement, bool in_transaction,
                                     const RemoteParameters &parameters, PreparedRemote &result,
                                     bool reads) {
	auto start = reads ? DH_START_IF_READING : DH_START_ALWAYS;
	Prepare(context, statement, in_transaction, parameters, start, result);
	return Execute(context, result.statement, in_transaction, statement.user_sql);
}

shared_ptr<ArrowSource> Session::Execute(ClientContext &context, uint64_t statement, bool in_transaction,
                                         const string &user_sql) {
	DhSourceTable table;
	void *source = nullptr;
	DhError error {nullptr, nullptr};
	Rust().session_execute(handle, statement, in_transaction, ToText(user_sql), PatienceOf(context), &table, &source,
	                       &error);
	ThrowIfError(error);
	return make_shared_ptr<ArrowSource>(table, source);
}

void Session::EndTransaction(DhPatience patience, bool commit) {
	DhError error {nullptr, nullptr};
	Rust().session_end_transaction(handle, commit, patience, &error);
	ThrowIfError(error);
}

DhCatalogState Session::Describe(ClientContext &context, optional_idx known_version, bool in_transaction,
                                 DhCatalogSink sink, DhTextSink database, void *target) {
	DhCatalogState state;
	DhError error {nullptr, nullptr};
	Rust().session_describe(handle, known_version.IsValid(), known_version.IsValid() ? known_version.GetIndex() : 0,
	                        in_transaction, sink, database, target, &state, PatienceOf(context), &error);
	ThrowIfError(error);
	return state;
}

string Session::Draw(ClientContext &context, const RemoteStatement &explain, bool in_transaction) {
	BorrowedStatement borrowed(explain, in_transaction);
	string drawing;
	auto take = [](void *target, DhText text) { *static_cast<string *>(target) = ToString(text); };
	DhError error {nullptr, nullptr};
	Rust().session_draw(handle, &borrowed.text, take, &drawing, PatienceOf(context), &error);
	ThrowIfError(error);
	return drawing;
}

Ingest::Ingest(ClientContext &context, Session &session, const RemoteStatement &statement, bool in_transaction,
               const vector<LogicalType> &types, const vector<string> &names) {
	BorrowedStatement borrowed(statement, in_transaction);
	LeavingColumns columns(context, types, names);
	DhError error {nullptr, nullptr};
	handle = Rust().ingest_begin(session.Handle(), &borrowed.text, columns.Get(), PatienceOf(context), &error);
	ThrowIfError(error);
}

Ingest::~Ingest() {
	Rust().ingest_free(handle);
}

void Ingest::Write(ClientContext &context, ArrowArray &array) {
	DhError error {nullptr, nullptr};
	Rust().ingest_write(handle, &array, PatienceOf(context), &error);
	ThrowIfError(error);
}

int64_t Ingest::Finish(ClientContext &context, shared_ptr<ArrowSource> &returned) {
	DhSourceTable table;
	void *source = nullptr;
	int64_t changed_rows = 0;
	DhError error {nullptr, nullptr};
	Rust().ingest_finish(handle, PatienceOf(context), &changed_rows, &table, &source, &error);
	ThrowIfError(error);
	if (source) {
		returned = make_shared_ptr<ArrowSource>(table, source);
	}
	return changed_rows;
}

} // namespace duckherder
