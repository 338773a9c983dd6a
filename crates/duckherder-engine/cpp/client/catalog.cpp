// An attached driver: attaching, finding it again, its sessions, schemas and registered tables.
#include "catalog.hpp"

#include "connection_state.hpp"
#include "session_of_client.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parser/parsed_data/attach_info.hpp"
#include "duckdb/parser/parsed_data/create_schema_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/storage/database_size.hpp"
#include "duckdb/storage/storage_extension.hpp"
#include "transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const CATALOG_TYPE = "duckherder";
static const char *const DEFAULT_HOST = "localhost";
static constexpr uint16_t DEFAULT_PORT = 8815;

shared_ptr<CatalogSession> SessionRegistry::GetOrOpen(idx_t connection_id, const Driver &driver) {
	std::lock_guard<std::mutex> guard(lock);
	auto &session = sessions[connection_id];
	if (!session) {
		session = make_shared_ptr<CatalogSession>(driver);
	}
	return session;
}

void SessionRegistry::Close(idx_t connection_id) {
	std::lock_guard<std::mutex> guard(lock);
	sessions.erase(connection_id);
}

void SessionRegistry::CloseAll() {
	std::lock_guard<std::mutex> guard(lock);
	sessions.clear();
}

RemoteCatalog::RemoteCatalog(AttachedDatabase &db, ClientContext &context, DriverPlace place_p)
    : Catalog(db), place(std::move(place_p)), driver(context, place), sessions(make_shared_ptr<SessionRegistry>()) {
	DhError error {nullptr, nullptr};
	vector<pair<string, string>> known;
	auto add = [](void *target, DhText name, DhText table) {
		static_cast<vector<pair<string, string>> *>(target)->emplace_back(ToString(name), ToString(table));
	};
	Rust().driver_table_names(driver.Handle(), add, &known, PatienceOf(context), &error);
	ThrowIfError(error);
	for (auto &name : known) {
		registered_tables.emplace(name.first, QualifiedName::Parse(name.second));
	}
}

RemoteCatalog::~RemoteCatalog() {
	sessions->CloseAll();
}

RemoteCatalog &RemoteCatalog::Find(ClientContext &context, const string &alias) {
	if (!alias.empty()) {
		auto catalog = Catalog::GetCatalogEntry(context, Identifier(alias));
		if (!catalog || catalog->GetCatalogType() != CATALOG_TYPE) {
			throw InvalidInputException("there is no attached driver \"%s\"", alias);
		}
		return catalog->Cast<RemoteCatalog>();
	}
	auto default_name = DatabaseManager::TryGetDefaultDatabase(context);
	optional_ptr<RemoteCatalog> found;
	string names;
	idx_t count = 0;
	for (auto &database : DatabaseManager::Get(context).GetDatabases(context)) {
		auto &catalog = database->GetCatalog();
		if (catalog.GetCatalogType() != CATALOG_TYPE) {
			continue;
		}
		if (catalog.GetName() == default_name) {
			return catalog.Cast<RemoteCatalog>();
		}
		found = catalog.Cast<RemoteCatalog>();
		names += (count++ ? ", " : "") + catalog.GetName().GetIdentifierName();
	}
	if (count == 0) {
		throw InvalidInputException("no driver is attached: use ATTACH 'dh' (TYPE duckherder, server_host 'host', "
		                            "server_port port) first");
	}
	if (count > 1) {
		throw InvalidInputException("several drivers are attached (%s): name one as the last argument", names);
	}
	return *found;
}

shared_ptr<CatalogSession> RemoteCatalog::GetSession(ClientContext &context) {
	ConnectionState::Get(context)->Watch(sessions);
	return sessions->GetOrOpen(context.GetConnectionId(), driver);
}

void RemoteCatalog::Replace(ClientContext &context, const string &driver_id, const string &location) {
	DhError error {nullptr, nullptr};
	Rust().driver_replace(driver.Handle(), ToText(driver_id), ToText(location), PatienceOf(context), &error);
	ThrowIfError(error);
	replaced = true;
	sessions->CloseAll();
}

bool RemoteCatalog::IsOfDriver(const RemoteCatalog &other) const {
	return !replaced && !other.replaced && place.host == other.place.host && place.port == other.place.port;
}

optional_ptr<RemoteCatalog> RemoteCatalog::FindSibling(ClientContext &context, const Identifier &database) {
	for (auto &attached : DatabaseManager::Get(context).GetDatabases(context)) {
		auto sibling = dynamic_cast<RemoteCatalog *>(&attached->GetCatalog());
		if (sibling && IsOfDriver(*sibling) &&
		    RemoteTransaction::Get(context, *sibling).GetSnapshot(context)->Database() == database) {
			return sibling;
		}
	}
	return nullptr;
}

//! Tells the driver; without `table`, that there is no such name any more.
static void NameTable(ClientContext &context, const Driver &driver, const string &name, optional_ptr<const string> table) {
	DhError error {nullptr, nullptr};
	auto text = table ? DhOptionalText {ToText(*table), true} : DhOptionalText {DhText {nullptr, 0}, false};
	Rust().driver_name_table(driver.Handle(), ToText(name), text, PatienceOf(context), &error);
	ThrowIfError(error);
}

void RemoteCatalog::RegisterTable(ClientContext &context, const Identifier &local, const string &remote) {
	auto name = local.GetIdentifierName();
	auto key = StringUtil::Lower(name);
	auto table = QualifiedName::Parse(remote);
	{
		std::lock_guard<std::mutex> guard(lock);
		if (registered_here.count(key)) {
			throw InvalidInputException("Failed to register table %s because it's already registered!", name);
		}
	}
	NameTable(context, driver, name, &remote);
	std::lock_guard<std::mutex> guard(lock);
	registered_here.insert(key);
	registered_tables[key] = std::move(table);
}

void RemoteCatalog::UnregisterTable(ClientContext &context, const Identifier &local) {
	auto name = local.GetIdentifierName();
	auto key = StringUtil::Lower(name);
	bool was_known;
	{
		std::lock_guard<std::mutex> guard(lock);
		registered_here.erase(key);
		was_known = registered_tables.erase(key) > 0;
	}
	try {
		NameTable(context, driver, name, nullptr);
	} catch (const std::exception &exception) {
		// Another client may have taken it back on the driver: here, it was known.
		if (!was_known || ErrorData(exception).Type() != ExceptionType::INVALID_INPUT) {
			throw;
		}
	}
}

bool RemoteCatalog::FindRegistered(const Identifier &local, QualifiedName &remote) {
	std::lock_guard<std::mutex> guard(lock);
	if (registered_tables.empty()) {
		return false;
	}
	auto found = registered_tables.find(StringUtil::Lower(local.GetIdentifierName()));
	if (found == registered_tables.end()) {
		return false;
	}
	remote = found->second;
	return true;
}

void RemoteCatalog::Saw(const Snapshot &snapshot) {
	auto names = snapshot.Sequences();
	std::lock_guard<std::mutex> guard(lock);
	clients_entries = snapshot.ClientsEntries();
	sequences = std::move(names);
}

bool RemoteCatalog::MayMeanSequence(const Identifier &name) {
	std::lock_guard<std::mutex> guard(lock);
	return sequences.count(name) > 0 && other_sequences.count(name) == 0;
}

void RemoteCatalog::MeantOtherSequence(ClientContext &context, const Identifier &name) {
	{
		std::lock_guard<std::mutex> guard(lock);
		other_sequences.insert(name);
	}
	ConnectionState::Get(context)->RequestRebind();
	throw TransactionException("the sequence %s is not one of \"%s\"", name.GetIdentifierName(),
	                           GetName().GetIdentifierName());
}

bool RemoteCatalog::IsClientsEntry(const Identifier &name) {
	std::lock_guard<std::mutex> guard(lock);
	return clients_entries.count(name) > 0;
}

RemoteStatement RemoteCatalog::MakeStatement(ClientContext &context, string sql) const {
	RemoteStatement statement;
	statement.sql = std::move(sql);
	statement.user_sql = RunningQuery(context);
	session_settings.AddTo(context, statement.settings);
	statement.settings.push_back({"schema", SessionSchema(context).GetIdentifierName(), true});
	auto several = SessionPath(context);
	statement.settings.push_back({"search_path", several, !several.empty()});
	auto variables = WriteVariables(context);
	statement.settings.push_back({"variables", variables ? *variables : string(), static_cast<bool>(variables)});
	statement.settings.push_back({"elsewhere", IsElsewhere(context) ? "true" : "false", true});
	auto shift = ConnectionState::Get(context)->Shift();
	// DuckDB points from such a place into the statement's own text, if that is so long.
	auto positions = shift > 0 || Settings::Get<ErrorsAsJSONSetting>(context);
	statement.settings.push_back({"positions", positions ? to_string(shift) : string(), positions});
	statement.settings.push_back({"alias", GetName().GetIdentifierName(), true});
	auto seed = ConnectionState::Get(context)->Seed();
	statement.settings.push_back({"seed", seed ? *seed : string(), static_cast<bool>(seed)});
	return statement;
}

bool RemoteCatalog::IsElsewhere(ClientContext &context) const {
	auto &paths = ClientData::Get(context).catalog_search_path->GetSetPaths();
	return std::none_of(paths.begin(), paths.end(),
	                    [&](const CatalogSearchEntry &entry) { return entry.GetCatalog() == GetName(); });
}

bool RemoteCatalog::IsDefault(ClientContext &context) const {
	return ClientData::Get(context).catalog_search_path->GetDefault().GetCatalog() == GetName();
}

vector<Identifier> RemoteCatalog::SearchedSchemas(ClientContext &context) const {
	vector<Identifier> schemas;
	for (auto &entry : ClientData::Get(context).catalog_search_path->GetSetPaths()) {
		if (entry.GetCatalog() == GetName()) {
			schemas.push_back(entry.GetSchema());
		}
	}
	return schemas;
}

Identifier RemoteCatalog::SessionSchema(ClientContext &context) const {
	return ClientData::Get(context).catalog_search_path->GetDefaultSchema(GetName());
}

string RemoteCatalog::SessionPath(ClientContext &context) const {
	auto schemas = SearchedSchemas(context);
	auto name = [](const Identifier &schema) { return schema.GetIdentifierName(); };
	return schemas.size() > 1 ? StringUtil::Join(schemas, "\x1f", name) : string();
}

QualifiedName RemoteCatalog::InDefaultSchema(ClientContext &context, const Identifier &name) const {
	auto schema = ClientData::Get(context).catalog_search_path->GetDefaultSchema(GetName());
	return QualifiedName(Identifier(), schema, name);
}

QualifiedName RemoteCatalog::NestedThere(ClientContext &context, const QualifiedName &name) {
	auto path = name.Path();
	if (path[0] == GetName()) {
		path.erase(path.begin());
	}
	path.insert(path.begin(), RemoteTransaction::Get(context, *this).GetSnapshot(context)->Database());
	return QualifiedName::FromPath(std::move(path));
}

QualifiedName RemoteCatalog::NameThere(ClientContext &context, const QualifiedName &name) {
	auto &path = name.Path();
	if (path.size() > 3 || (path.size() == 3 && !path[0].empty() && path[0] != GetName())) {
		return NestedThere(context, name);
	}
	auto result = name.WithCatalog(Identifier());
	if (result.Schema() != Identifier::DefaultSchema() || SessionSchema(context) == Identifier::DefaultSchema()) {
		return result;
	}
	// DuckDB leaves `main` out of the text of DDL, and the driver would take the session's schema for it.
	return result.WithCatalog(RemoteTransaction::Get(context, *this).GetSnapshot(context)->Database());
}

QualifiedName RemoteCatalog::SchemaThere(ClientContext &context, const QualifiedName &name) {
	auto &path = name.Path();
	auto nested = path.size() > 2 || (path.size() == 2 && !path[0].empty() && path[0] != GetName());
	return nested ? NestedThere(context, name) : QualifiedName(name.Name());
}

void RemoteCatalog::Run(ClientContext &context, const string &sql) {
	auto &transaction = RemoteTransaction::Get(context, *this);
	transaction.AddOperation(context);
	auto session = transaction.GetSession();
	auto statement = MakeStatement(context, sql);
	PreparedRemote prepared;
	auto source = session->session.Run(context, statement, transaction.StartInTransaction(context), {}, prepared);
	ArrowArrayWrapper batch;
	while (source->Wait(context, 0, batch.arrow_array)) {
		batch.arrow_array.release(&batch.arrow_array);
		batch.arrow_array.release = nullptr;
	}
	transaction.CatalogChanged();
}

vector<vector<Value>> RemoteCatalog::QueryRows(ClientContext &context, const string &sql,
                                               const vector<LogicalType> &types) {
	auto &transaction = RemoteTransaction::Get(context, *this);
	auto session = transaction.GetSession();
	auto statement = MakeStatement(context, sql);
	PreparedRemote prepared;
	auto source = session->session.Run(context, statement, transaction.StartInTransaction(context), {}, prepared, true);
	ArrowSourceColumns columns(context, prepared.schema.arrow_schema);
	if (columns.types != types) {
		throw IOException("the driver gave other columns than expected for %s", sql);
	}
	vector<column_t> column_ids;
	for (idx_t i = 0; i < types.size(); i++) {
		column_ids.push_back(i);
	}
	ArrowBatchReader reader(context, columns, column_ids);
	DataChunk chunk;
	chunk.Initialize(context, types);
	vector<vector<Value>> rows;
	ArrowArray batch;
	while (source->Wait(context, 0, batch)) {
		reader.SetBatch(batch);
		for (; reader.Read(chunk); chunk.Reset()) {
			for (idx_t row = 0; row < chunk.size(); row++) {
				rows.emplace_back();
				for (auto column : column_ids) {
					rows.back().push_back(chunk.GetValue(column, row));
				}
			}
		}
	}
	return rows;
}

void RemoteCatalog::RunDrop(ClientContext &context, const DropInfo &info) {
	DropStatement statement;
	statement.info = make_uniq<DropInfo>(info);
	auto &name = info.GetQualifiedName();
	statement.info->SetQualifiedName(info.type == CatalogType::SCHEMA_ENTRY ? SchemaThere(context, name)
	                                                                        : NameThere(context, name));
	Run(context, statement.ToString());
}

void RemoteCatalog::RunAlter(ClientContext &context, const AlterInfo &info) {
	AlterStatement statement;
	statement.info = info.Copy();
	statement.info->SetQualifiedName(NameThere(context, info.GetQualifiedName()));
	Run(context, statement.ToString());
}

void RemoteCatalog::Initialize(bool) {
}

void RemoteCatalog::Initialize(optional_ptr<ClientContext>, bool) {
}

optional_ptr<SchemaCatalogEntry> RemoteCatalog::LookupSchema(CatalogTransaction transaction,
                                                             const EntryLookupInfo &lookup,
                                                             OnEntryNotFound if_not_found) {
	auto &name = lookup.GetEntryIdentifier();
	auto &path = lookup.GetQualifiedName().Path();
	if (path.size() == 3 && !path[1].empty() && transaction.HasContext()) {
		// A schema of another database, as UniteDatabases names it.
		auto &context = transaction.GetContext();
		auto sibling = FindSibling(context, path[1]);
		if (sibling) {
			EntryLookupInfo there(CatalogType::SCHEMA_ENTRY, QualifiedName(name));
			return sibling->LookupSchema(sibling->GetCatalogTransaction(context), there, if_not_found);
		}
	} else if (transaction.HasContext() &&
	           (path.size() < 2 || ((path[0].empty() || path[0] == GetName()) && (path.size() == 2 || path[1].empty())))) {
		auto &context = transaction.GetContext();
		auto &remote = RemoteTransaction::Get(context, *this);
		auto schema = remote.GetSnapshot(context)->FindSchema(name);
		if (!schema) {
			schema = remote.Validate(context)->FindSchema(name);
		}
		if (schema) {
			return schema.get();
		}
	}
	if (if_not_found == OnEntryNotFound::RETURN_NULL) {
		return nullptr;
	}
	throw CatalogException(lookup.GetErrorContext(), "Schema with name %s does not exist!", name.GetIdentifierName());
}

void RemoteCatalog::ScanSchemas(ClientContext &context, std::function<void(SchemaCatalogEntry &)> callback) {
	auto snapshot = RemoteTransaction::Get(context, *this).Refresh(context);
	snapshot->ScanSchemas([&](RemoteSchema &schema) { callback(schema); });
}

optional_ptr<CatalogEntry> RemoteCatalog::CreateSchema(CatalogTransaction, CreateSchemaInfo &) {
	throw NotImplementedException("schemas of a driver are created by a statement that concerns that driver alone");
}

void RemoteCatalog::DropSchema(ClientContext &context, DropInfo &info) {
	RunDrop(context, info);
}

bool RemoteCatalog::CheckAmbiguousCatalogOrSchema(ClientContext &context, const Identifier &schema) {
	return static_cast<bool>(RemoteTransaction::Get(context, *this).GetSnapshot(context)->FindSchema(schema));
}

DatabaseSize RemoteCatalog::GetDatabaseSize(ClientContext &) {
	return DatabaseSize();
}

string RemoteCatalog::GetDBPath() {
	return place.ToString();
}

static uint16_t ParsePort(const string &text) {
	auto port = Value(text).DefaultTryCastAs(LogicalType::USMALLINT);
	if (!port || port->IsNull() || port->GetValue<uint16_t>() == 0) {
		throw BinderException("server_port must be a number from 1 to 65535, not \"%s\"", text);
	}
	return port->GetValue<uint16_t>();
}

//! Several addresses, each with its port.
static string CompleteAddresses(const string &addresses, uint16_t port) {
	string complete;
	for (idx_t begin = 0, end = 0; end != string::npos; begin = end + 1) {
		end = addresses.find(',', begin);
		auto address = addresses.substr(begin, end == string::npos ? end : end - begin);
		StringUtil::Trim(address);
		auto colon = address.rfind(':');
		if (address.empty() || colon == 0) {
			throw BinderException("\"%s\" is no list of addresses: write host:port,host:port", addresses);
		}
		if (colon == string::npos) {
			address += ":" + to_string(port);
		} else {
			ParsePort(address.substr(colon + 1));
		}
		complete += (complete.empty() ? "" : ",") + address;
	}
	return complete;
}

//! `host:port`, several of them, `host:port/database`, `/database`, or nothing.
static DriverPlace ParsePath(const string &path) {
	DriverPlace place {DEFAULT_HOST, DEFAULT_PORT, {}, false};
	if (path.empty() || path == IN_MEMORY_PATH) {
		return place;
	}
	auto slash = path.find('/');
	auto address = path.substr(0, slash);
	auto colon = address.rfind(':');
	if (address.find(',') != string::npos) {
		place.host = address;
	} else if (colon != string::npos) {
		place.host = address.substr(0, colon);
		place.port = ParsePort(address.substr(colon + 1));
	}
	if (slash != string::npos && slash + 1 < path.size()) {
		place.database = path.substr(slash + 1);
	}
	return place;
}

static unique_ptr<Catalog> Attach(optional_ptr<StorageExtensionInfo>, ClientContext &context, AttachedDatabase &db,
                                  const string &, AttachInfo &info, AttachOptions &options) {
	auto place = ParsePath(info.path);
	for (auto &option : options.options) {
		auto name = StringUtil::Lower(option.first);
		auto text = option.second.IsNull() ? string() : option.second.ToString();
		if (name == "server_host") {
			place.host = text;
			if (text.empty()) {
				throw BinderException("server_host must be the name or address of a host");
			}
		} else if (name == "server_port") {
			place.port = ParsePort(text);
		} else if (name == "database") {
			if (text.empty()) {
				throw BinderException("database must be the name of one of the driver's databases");
			}
			place.database = text;
		} else if (name == "create_if_missing") {
			place.create_if_missing = BooleanValue::Get(option.second.DefaultCastAs(LogicalType::BOOLEAN));
		} else {
			throw BinderException("Unrecognized option for attach \"%s\": a duckherder database has server_host, "
			                      "server_port, database and create_if_missing",
			                      option.first);
		}
	}
	if (place.host.find(',') != string::npos) {
		place.host = CompleteAddresses(place.host, place.port);
	}
	// `ATTACH IF NOT EXISTS` and friends compare paths; ours is where the driver is.
	return make_uniq_base<Catalog, RemoteCatalog>(db, context, std::move(place));
}

static unique_ptr<TransactionManager> CreateTransactionManager(optional_ptr<StorageExtensionInfo>, AttachedDatabase &db,
                                                               Catalog &catalog) {
	return make_uniq_base<TransactionManager, RemoteTransactionManager>(db, catalog.Cast<RemoteCatalog>());
}

void RegisterAttach(DBConfig &config) {
	auto storage = make_shared_ptr<StorageExtension>();
	storage->attach = Attach;
	storage->create_transaction_manager = CreateTransactionManager;
	StorageExtension::Register(config, CATALOG_TYPE, std::move(storage));
}

} // namespace duckherder
