// The schemas of a snapshot: looking up and listing what the driver has described.
#include "catalog.hpp"
#include "clients_entries.hpp"
#include "database_renamer.hpp"
#include "macro_tables.hpp"
#include "parts_of.hpp"
#include "query_function.hpp"
#include "query_of.hpp"
#include "snapshot.hpp"
#include "transaction.hpp"

#include "duckdb/catalog/catalog_entry/macro_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/type_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/constraints/foreign_key_constraint.hpp"
#include "duckdb/parser/constraints/not_null_constraint.hpp"
#include "duckdb/parser/constraints/unique_constraint.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_schema_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/planner/parsed_data/bound_create_table_info.hpp"
#include "wire_type.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! An index, as far as a client shows it.
class RemoteIndex : public IndexCatalogEntry {
public:
	RemoteIndex(Catalog &catalog, SchemaCatalogEntry &schema, CreateIndexInfo &info)
	    : IndexCatalogEntry(catalog, schema, info), table(info.table) {
	}
	Identifier GetSchemaName() const override {
		return schema.name;
	}
	Identifier GetTableName() const override {
		return table;
	}

private:
	Identifier table;
};

//! The names under which functions of the extension are also found in a driver's schema `main`.
static const char *const FUNCTION_PREFIX = "duckherder_";

RemoteSchema::RemoteSchema(RemoteCatalog &catalog_p, Snapshot &snapshot_p, CreateSchemaInfo &info)
    : SchemaCatalogEntry(catalog_p, info), remote_catalog(catalog_p), snapshot(snapshot_p) {
}

RemoteSchema::Key RemoteSchema::KeyOf(EntryKind kind, const Identifier &name) {
	return Key(static_cast<int>(kind), StringUtil::Lower(name.GetIdentifierName()));
}

void RemoteSchema::Add(EntryDescription description) {
	auto key = KeyOf(description.kind, description.name);
	descriptions.emplace(std::move(key), std::move(description));
}

void RemoteSchema::AddDefinitions(vector<reference<const EntryDescription>> &target) const {
	for (auto &entry : descriptions) {
		auto kind = entry.second.kind;
		if (kind == EntryKind::VIEW || kind == EntryKind::SCALAR_MACRO || kind == EntryKind::TABLE_MACRO) {
			target.push_back(entry.second);
		}
	}
}

void RemoteSchema::AddSequences(identifier_set_t &target) const {
	for (auto &entry : descriptions) {
		if (entry.second.kind == EntryKind::SEQUENCE) {
			target.insert(entry.second.name);
		}
	}
}

optional_ptr<const EntryDescription> RemoteSchema::Describe(EntryKind kind, const Identifier &name) const {
	auto found = descriptions.find(KeyOf(kind, name));
	return found == descriptions.end() ? nullptr : &found->second;
}

static vector<EntryKind> KindsOf(CatalogType type) {
	switch (type) {
	case CatalogType::TABLE_ENTRY:
	case CatalogType::VIEW_ENTRY:
		return {EntryKind::TABLE, EntryKind::VIEW};
	case CatalogType::INDEX_ENTRY:
		return {EntryKind::INDEX};
	case CatalogType::SEQUENCE_ENTRY:
		return {EntryKind::SEQUENCE};
	case CatalogType::TYPE_ENTRY:
		return {EntryKind::TYPE};
	case CatalogType::MACRO_ENTRY:
	case CatalogType::SCALAR_FUNCTION_ENTRY:
	case CatalogType::AGGREGATE_FUNCTION_ENTRY:
		return {EntryKind::SCALAR_MACRO};
	case CatalogType::TABLE_MACRO_ENTRY:
	case CatalogType::TABLE_FUNCTION_ENTRY:
		return {EntryKind::TABLE_MACRO};
	default:
		return {};
	}
}

//! The CREATE statement of an entry, as DuckDB's parser reads it. Where it names the driver's database, that is what the
//! client calls it.
template <class INFO>
unique_ptr<INFO> RemoteSchema::ParseCreate(ClientContext &context, const EntryDescription &description) const {
	Parser parser(context);
	parser.ParseQuery(description.sql);
	if (parser.statements.size() != 1 || parser.statements[0]->type != StatementType::CREATE_STATEMENT) {
		throw IOException("the driver describes \"%s\" by something that is not a CREATE statement: %s",
		                  description.name.GetIdentifierName(), description.sql);
	}
	auto &statement = parser.statements[0]->Cast<CreateStatement>();
	if (IsUnbound(description)) {
		// It may name temporary tables of the client, and nothing by the driver's names.
		return unique_ptr_cast<CreateInfo, INFO>(std::move(statement.info));
	}
	DatabaseRenamer renamer(snapshot.Database(), remote_catalog.GetName(), 3);
	if (auto query = QueryOf(statement)) {
		renamer.Rename(*query);
	}
	ForEachPartOf(
	    statement, [&](ParsedExpression &part) { renamer.Rename(part); }, [&](QueryNode &part) { renamer.Rename(part); });
	return unique_ptr_cast<CreateInfo, INFO>(std::move(statement.info));
}

static void AddColumns(ClientContext &context, const EntryDescription &description, CreateTableInfo &info) {
	if (info.columns.LogicalColumnCount() != description.columns.size()) {
		info.columns = ColumnList();
		for (auto &column : description.columns) {
			info.columns.AddColumn(
			    ColumnDefinition(Identifier(column.name), ParseWireType(context, column.type_name)));
		}
	}
	ColumnList columns;
	for (idx_t i = 0; i < description.columns.size(); i++) {
		auto column = info.columns.GetColumn(LogicalIndex(i)).Copy();
		column.SetType(ParseWireType(context, description.columns[i].type_name));
		column.SetComment(description.columns[i].comment);
		columns.AddColumn(std::move(column));
	}
	info.columns = std::move(columns);
}

//! The NOT NULL constraints that DuckDB has without being told, those of a primary key.
static void AddNotNull(const EntryDescription &description, CreateTableInfo &info) {
	std::set<idx_t> wanted;
	for (idx_t i = 0; i < description.columns.size(); i++) {
		if (description.columns[i].not_null) {
			wanted.insert(i);
		}
	}
	for (auto &constraint : info.constraints) {
		if (constraint->type == ConstraintType::UNIQUE && constraint->Cast<UniqueConstraint>().IsPrimaryKey()) {
			for (auto &column : constraint->Cast<UniqueConstraint>().GetLogicalIndexes(info.columns)) {
				wanted.insert(column.index);
			}
		}
	}
	for (auto &constraint : info.constraints) {
		if (constraint->type == ConstraintType::NOT_NULL) {
			wanted.erase(constraint->Cast<NotNullConstraint>().index.index);
		}
	}
	for (auto column : wanted) {
		info.constraints.push_back(make_uniq<NotNullConstraint>(LogicalIndex(column)));
	}
}

//! A foreign key of the table's own rows is known for one only once DuckDB has bound it; EXPORT DATABASE waits for ever for
//! the table that such a key is to, if it takes that for another one.
static void MarkSelfReferences(CreateTableInfo &info, const Identifier &table) {
	for (auto &constraint : info.constraints) {
		if (constraint->type == ConstraintType::FOREIGN_KEY) {
			auto &reference = constraint->Cast<ForeignKeyConstraint>().info;
			if (reference.table == table) {
				reference.type = ForeignKeyType::FK_TYPE_SELF_REFERENCE_TABLE;
			}
		}
	}
}

//! The columns that an index's expressions read, each once, in the order in which binding meets them: DuckDB takes an
//! index's expressions to be over these (COPY FROM DATABASE).
void RemoteSchema::AddIndexColumns(ClientContext &context, CreateIndexInfo &info) {
	optional_ptr<RemoteTable> table;
	try {
		table = FindTable(context, info.table);
	} catch (const InterruptException &) {
		throw;
	} catch (std::exception &) { // NOLINT: a table that is not understood; its index is listed all the same
	}
	if (!table) {
		return;
	}
	auto &columns = table->GetColumns();
	for (auto &expression : info.parsed_expressions) {
		ParsedExpressionIterator::VisitExpression<ColumnRefExpression>(*expression, [&](const ColumnRefExpression &read) {
			if (!columns.ColumnExists(read.GetColumnName())) {
				return;
			}
			auto column = columns.GetColumn(read.GetColumnName()).Physical().index;
			if (std::find(info.column_ids.begin(), info.column_ids.end(), column) == info.column_ids.end()) {
				info.column_ids.push_back(column);
			}
		});
	}
}

unique_ptr<CatalogEntry> RemoteSchema::Make(ClientContext &context, const EntryDescription &description) {
	unique_ptr<CatalogEntry> entry;
	auto qualified = GetQualifiedName(description.name);
	switch (description.kind) {
	case EntryKind::TABLE: {
		auto info = ParseCreate<CreateTableInfo>(context, description);
		info->SetQualifiedName(qualified);
		AddColumns(context, description, *info);
		AddNotNull(description, *info);
		MarkSelfReferences(*info, description.name);
		info->comment = description.comment;
		auto told = info->Copy();
		auto calls = QualifyCalls(context, *info, snapshot, remote_catalog.GetName());
		auto table = make_uniq<RemoteTable>(remote_catalog, snapshot, *this, description, *info);
		if (calls) {
			table->SetTold(std::move(told));
		}
		return std::move(table);
	}
	case EntryKind::VIEW: {
		auto info = ParseCreate<CreateViewInfo>(context, description);
		info->SetQualifiedName(qualified);
		info->sql = description.sql;
		for (auto &column : description.columns) {
			if (column.type_name.empty()) {
				// Nobody knows its columns: what it reads is not there.
				break;
			}
			info->names.emplace_back(column.name);
			info->types.push_back(ParseWireType(context, column.type_name));
			if (!column.comment.IsNull()) {
				info->column_comments_map[Identifier(column.name)] = column.comment;
			}
		}
		info->comment = description.comment;
		return make_uniq<ViewCatalogEntry>(remote_catalog, *this, *info);
	}
	case EntryKind::INDEX: {
		auto info = ParseCreate<CreateIndexInfo>(context, description);
		info->SetQualifiedName(qualified);
		info->table = description.table;
		info->sql = description.sql;
		AddIndexColumns(context, *info);
		info->comment = description.comment;
		return make_uniq<RemoteIndex>(remote_catalog, *this, *info);
	}
	case EntryKind::SEQUENCE: {
		auto info = ParseCreate<CreateSequenceInfo>(context, description);
		info->SetQualifiedName(qualified);
		info->comment = description.comment;
		auto sequence = make_uniq<SequenceCatalogEntry>(remote_catalog, *this, *info);
		auto &state = description.sequence;
		optional<int64_t> last_value;
		if (state.has_last_value) {
			last_value = state.last_value;
		}
		sequence->ReplayValue(state.uses, state.next_value, last_value);
		return std::move(sequence);
	}
	case EntryKind::TYPE: {
		auto info = ParseCreate<CreateTypeInfo>(context, description);
		info->SetQualifiedName(qualified);
		info->comment = description.comment;
		if (info->type.id() == LogicalTypeId::UNBOUND) {
			info->type = ParseWireType(context, info->type.ToString());
		}
		return make_uniq<TypeCatalogEntry>(remote_catalog, *this, *info);
	}
	case EntryKind::SCALAR_MACRO:
	case EntryKind::TABLE_MACRO:
		return MacroCatalogEntry::Create(remote_catalog, *this, *MacroInfo(context, description));
	default:
		throw IOException("the driver lists \"%s\", which is of an unknown kind",
		                  description.name.GetIdentifierName());
	}
}

LogicalType RemoteSchema::ParameterType(ClientContext &context, const LogicalType &type) {
	if (type.id() != LogicalTypeId::UNBOUND) {
		return type;
	}
	auto &named = *UnboundType::GetTypeExpression(type);
	if (named.GetExpressionClass() == ExpressionClass::TYPE) {
		auto own = Describe(EntryKind::TYPE, named.Cast<TypeExpression>().GetTypeName());
		if (own) {
			return GetOrMake(context, *own).Cast<TypeCatalogEntry>().user_type;
		}
	}
	try {
		auto built_in = UnboundType::TryDefaultBind(type);
		return TypeVisitor::Contains(built_in, LogicalTypeId::UNBOUND) ? LogicalType::UNKNOWN : built_in;
	} catch (const InvalidInputException &) {
		return LogicalType::UNKNOWN;
	}
}

unique_ptr<CreateMacroInfo> RemoteSchema::MacroInfo(ClientContext &context, const EntryDescription &description) {
	auto info = ParseCreate<CreateMacroInfo>(context, description);
	info->SetQualifiedName(GetQualifiedName(description.name));
	info->comment = description.comment;
	for (auto &macro : info->macros) {
		for (auto &type : macro->types) {
			type = ParameterType(context, type);
		}
	}
	return info;
}

CatalogEntry &RemoteSchema::CalledMacro(ClientContext &context, const EntryDescription &description) {
	auto info = MacroInfo(context, description);
	QualifyNames(context, *info, snapshot, remote_catalog.GetName());
	std::lock_guard<std::mutex> guard(lock);
	auto &entry = called_macros[KeyOf(description.kind, description.name)];
	if (!entry) {
		entry = MacroCatalogEntry::Create(remote_catalog, *this, *info);
	}
	return *entry;
}

CatalogEntry &RemoteSchema::GetOrMake(ClientContext &context, const EntryDescription &description) {
	auto key = KeyOf(description.kind, description.name);
	{
		std::lock_guard<std::mutex> guard(lock);
		auto found = entries.find(key);
		if (found != entries.end()) {
			return *found->second;
		}
	}
	auto made = Make(context, description);
	std::lock_guard<std::mutex> guard(lock);
	auto &entry = entries[key];
	if (!entry) {
		entry = std::move(made);
	}
	return *entry;
}

//! Stands in a list for a table or view whose description can't be understood, so that the others are listed: its columns
//! are of no known type, and to read it is the error (RemoteTable::GetScanFunction).
static unique_ptr<CreateTableInfo> NotUnderstood(SchemaCatalogEntry &schema, const EntryDescription &description) {
	auto info = make_uniq<CreateTableInfo>(schema, description.name);
	for (auto &column : description.columns) {
		info->columns.AddColumn(ColumnDefinition(Identifier(column.name), LogicalType::UNKNOWN));
	}
	info->comment = description.comment;
	return info;
}

void RemoteSchema::Scan(ClientContext &context, CatalogType type, const std::function<void(CatalogEntry &)> &callback) {
	for (auto kind : KindsOf(type)) {
		for (auto &description : descriptions) {
			if (description.second.kind != kind) {
				continue;
			}
			optional_ptr<CatalogEntry> entry;
			try {
				entry = GetOrMake(context, description.second);
			} catch (const InterruptException &) {
				throw;
			} catch (std::exception &) {
				if (kind != EntryKind::TABLE) {
					throw;
				}
				auto info = NotUnderstood(*this, description.second);
				std::lock_guard<std::mutex> guard(lock);
				auto &listed = entries[description.first];
				if (!listed) {
					listed = make_uniq<RemoteTable>(remote_catalog, snapshot, *this, description.second, *info);
				}
				entry = listed.get();
			}
			callback(*entry);
		}
	}
}

void RemoteSchema::Scan(CatalogType, const std::function<void(CatalogEntry &)> &) {
	throw NotImplementedException("a driver's catalog can only be listed by a connection");
}

optional_ptr<RemoteTable> RemoteSchema::FindTable(ClientContext &context, const Identifier &name) {
	optional_ptr<RemoteSchema> schema = this;
	auto remote_name = name;
	QualifiedName registered;
	if (this->name == DEFAULT_SCHEMA && remote_catalog.FindRegistered(name, registered)) {
		schema = registered.Schema().empty() ? this : snapshot.FindSchema(registered.Schema());
		remote_name = registered.Name();
	}
	if (!schema) {
		return nullptr;
	}
	auto description = schema->Describe(EntryKind::TABLE, remote_name);
	if (description && remote_name == name) {
		return schema->GetOrMake(context, *description).Cast<RemoteTable>();
	}
	if (!description) {
		description = schema->Describe(EntryKind::VIEW, remote_name);
	}
	if (!description) {
		return nullptr;
	}
	if (description->columns.size() == 1 && description->columns[0].type_name.empty()) {
		// A view of what is not there: the driver says what that is.
		auto view = QualifiedName(Identifier(), description->schema, description->name);
		vector<LogicalType> texts(6, LogicalType::VARCHAR);
		remote_catalog.QueryRows(context, "DESCRIBE SELECT * FROM " + view.ToString(), texts);
		throw BinderException("the columns of the view %s are not known", view.ToString());
	}
	auto key = StringUtil::Lower(name.GetIdentifierName());
	std::lock_guard<std::mutex> guard(lock);
	auto &table = scanned[key];
	if (!table || &table->Description() != description.get()) {
		CreateTableInfo info(*this, name);
		AddColumns(context, *description, info);
		info.comment = description->comment;
		table = make_uniq<RemoteTable>(remote_catalog, snapshot, *this, *description, info);
	}
	return table.get();
}

void RemoteSchema::SetColumns(ClientContext &context, RemoteTable &view, const vector<vector<Value>> &described) {
	auto &description = view.Description();
	CreateTableInfo info(*this, view.name);
	for (auto &row : described) {
		ColumnDefinition column(Identifier(row[0].ToString()), ParseWireType(context, row[1].ToString()));
		auto known = std::find_if(description.columns.begin(), description.columns.end(), [&](const auto &other) {
			return column.Name() == Identifier(other.name);
		});
		if (known != description.columns.end()) {
			column.SetComment(known->comment);
		}
		info.columns.AddColumn(std::move(column));
	}
	info.comment = description.comment;
	std::lock_guard<std::mutex> guard(lock);
	auto &current = scanned[StringUtil::Lower(view.name.GetIdentifierName())];
	if (current.get() == &view) {
		former.push_back(std::move(current));
		current = make_uniq<RemoteTable>(remote_catalog, snapshot, *this, description, info);
	}
}

optional_ptr<CatalogEntry> RemoteSchema::LookupEntry(CatalogTransaction transaction, const EntryLookupInfo &lookup) {
	if (!transaction.HasContext()) {
		return nullptr;
	}
	auto &context = transaction.GetContext();
	auto &wanted = lookup.GetEntryIdentifier();
	auto type = lookup.GetCatalogType();
	auto own = own_functions.Find(remote_catalog, *this, type, wanted);
	if (own) {
		return own;
	}
	if (type == CatalogType::TABLE_ENTRY || type == CatalogType::VIEW_ENTRY) {
		auto view = snapshot.IsClients(wanted) ? Describe(EntryKind::VIEW, wanted) : nullptr;
		if (view) {
			return GetOrMake(context, *view);
		}
		auto table = FindTable(context, wanted);
		if (table) {
			return table.get();
		}
		// Somebody may have made it since we last asked.
		auto &remote = RemoteTransaction::Get(context, remote_catalog);
		auto fresh = remote.Validate(context);
		auto schema = fresh.get() == &snapshot ? nullptr : fresh->FindSchema(name);
		table = schema ? schema->FindTable(context, wanted) : nullptr;
		// What the client registered is found wherever names alone are looked for.
		QualifiedName registered;
		auto main = snapshot.FindSchema(Identifier::DefaultSchema());
		if (!table && main && remote_catalog.InDefaultSchema(context, wanted).Schema() == name &&
		    remote_catalog.FindRegistered(wanted, registered)) {
			table = main->FindTable(context, wanted);
		}
		return table.get();
	}
	for (auto kind : KindsOf(type)) {
		auto description = Describe(kind, wanted);
		if (description) {
			auto is_macro = kind == EntryKind::SCALAR_MACRO || kind == EntryKind::TABLE_MACRO;
			return is_macro ? CalledMacro(context, *description) : GetOrMake(context, *description);
		}
	}
	if (type == CatalogType::SEQUENCE_ENTRY) {
		auto fresh = RemoteTransaction::Get(context, remote_catalog).Validate(context);
		auto schema = fresh.get() == &snapshot ? nullptr : fresh->FindSchema(name);
		auto description = schema ? schema->Describe(EntryKind::SEQUENCE, wanted) : nullptr;
		return description ? &schema->GetOrMake(context, *description) : nullptr;
	}
	// After `USE dh` the extension's own functions are called as main.duckherder_...
	if (name == DEFAULT_SCHEMA && StringUtil::StartsWith(wanted.GetIdentifierName(), FUNCTION_PREFIX)) {
		auto &system = Catalog::GetSystemCatalog(context);
		return system.GetEntry(context, type, Identifier::DefaultSchema(), wanted, OnEntryNotFound::RETURN_NULL);
	}
	return nullptr;
}

//! Creates what a CREATE statement asks for.
optional_ptr<CatalogEntry> RemoteSchema::Create(CatalogTransaction transaction, const CreateInfo &info) {
	remote_catalog.RunCreate(transaction.GetContext(), info);
	return nullptr;
}

optional_ptr<CatalogEntry> RemoteSchema::CreateIndex(CatalogTransaction, CreateIndexInfo &, TableCatalogEntry &) {
	// CREATE INDEX is bound to something else, and COPY FROM DATABASE planned as something else.
	throw NotImplementedException("an index of a driver is created by a statement that concerns that driver alone");
}
optional_ptr<CatalogEntry> RemoteSchema::CreateFunction(CatalogTransaction transaction, CreateFunctionInfo &info) {
	return Create(transaction, info);
}
optional_ptr<CatalogEntry> RemoteSchema::CreateTable(CatalogTransaction transaction, BoundCreateTableInfo &info) {
	return Create(transaction, info.Base());
}
optional_ptr<CatalogEntry> RemoteSchema::CreateView(CatalogTransaction transaction, CreateViewInfo &info) {
	return Create(transaction, info);
}
optional_ptr<CatalogEntry> RemoteSchema::CreateSequence(CatalogTransaction transaction, CreateSequenceInfo &info) {
	return Create(transaction, info);
}
optional_ptr<CatalogEntry> RemoteSchema::CreateType(CatalogTransaction transaction, CreateTypeInfo &info) {
	return Create(transaction, info);
}

void RemoteSchema::DropEntry(ClientContext &context, DropInfo &info) {
	remote_catalog.RunDrop(context, info);
}

void RemoteSchema::Alter(CatalogTransaction transaction, AlterInfo &info) {
	remote_catalog.RunAlter(transaction.GetContext(), info);
}

} // namespace duckherder
