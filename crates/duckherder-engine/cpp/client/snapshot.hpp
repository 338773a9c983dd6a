// What a driver's database held at one moment, as catalog entries that DuckDB can look at.
#pragma once

#include "driver.hpp"
#include "duckdb/common/optional.hpp"
#include "duckdb/catalog/catalog_entry/index_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/common/optional_ptr.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "own_functions.hpp"

#include <mutex>

namespace duckherder {

class RemoteCatalog;
class Snapshot;

//! As in the protocol's `EntryKind`.
enum class EntryKind : int {
	SCHEMA = 0,
	TABLE = 1,
	VIEW = 2,
	INDEX = 3,
	SEQUENCE = 4,
	TYPE = 5,
	SCALAR_MACRO = 6,
	TABLE_MACRO = 7
};

struct ColumnDescription {
	duckdb::string name;
	duckdb::string type_name;
	bool not_null;
	duckdb::Value comment;

	bool operator==(const ColumnDescription &other) const {
		return name == other.name && type_name == other.type_name && not_null == other.not_null;
	}
};

//! One entry as the driver describes it.
struct EntryDescription {
	EntryKind kind;
	duckdb::Identifier schema;
	duckdb::Identifier name;
	duckdb::string sql;
	duckdb::Identifier table;
	duckdb::idx_t estimated_rows;
	duckdb::Value comment;
	duckdb::vector<ColumnDescription> columns;
	DhSequenceState sequence;
};

//! A table or view of the driver; a view is scanned like a table.
class RemoteTable : public duckdb::TableCatalogEntry {
public:
	RemoteTable(RemoteCatalog &catalog, Snapshot &snapshot, duckdb::SchemaCatalogEntry &schema,
	            const EntryDescription &description, duckdb::CreateTableInfo &info);

	const duckdb::ColumnList &GetColumns() const override {
		return columns;
	}
	duckdb::unique_ptr<duckdb::BaseStatistics> GetStatistics(duckdb::ClientContext &, duckdb::column_t) override {
		return nullptr;
	}
	duckdb::TableFunction GetScanFunction(duckdb::ClientContext &context,
	                                      duckdb::unique_ptr<duckdb::FunctionData> &bind_data) override;
	duckdb::TableStorageInfo GetStorageInfo(duckdb::ClientContext &context) override;
	duckdb::virtual_column_map_t GetVirtualColumns() const override;
	duckdb::vector<duckdb::column_t> GetRowIdColumns() const override;
	duckdb::unique_ptr<duckdb::CreateInfo> GetInfo() const override;
	//! As the driver tells of it, for what is copied or written elsewhere, where that is not what is bound here.
	void SetTold(duckdb::unique_ptr<duckdb::CreateInfo> info) {
		told = std::move(info);
	}
	//! Binds the columns that an UPDATE needs: rows are found by rowid.
	void BindUpdateConstraints(duckdb::Binder &binder, duckdb::LogicalGet &get, duckdb::LogicalProjection &projection,
	                           duckdb::LogicalUpdate &update, duckdb::ClientContext &context) override;

	//! The name that the driver knows it by, without the catalog.
	duckdb::QualifiedName RemoteName() const;
	RemoteCatalog &GetRemoteCatalog() const {
		return remote_catalog;
	}
	//! What keeps this entry alive.
	Snapshot &GetSnapshot() const {
		return snapshot;
	}
	const EntryDescription &Description() const {
		return description;
	}
	//! What DESCRIBE shows of a scan: of a view, the keys and defaults of the columns that it passes on.
	RemoteTable &Shown() {
		return shown ? *shown : *this;
	}

private:
	//! Asks the driver what is `Shown` of a view: once, or, if the view reads files, each time. If it has other columns now,
	//! the statement is to be bound once more.
	void Show(duckdb::ClientContext &context);
	bool HasColumns(duckdb::ClientContext &context, const duckdb::vector<duckdb::vector<duckdb::Value>> &described) const;

	std::mutex lock;
	duckdb::unique_ptr<RemoteTable> shown;
	duckdb::optional<bool> opens_files;
	RemoteCatalog &remote_catalog;
	Snapshot &snapshot;
	const EntryDescription &description;
	duckdb::ColumnList columns;
	duckdb::unique_ptr<duckdb::CreateInfo> told;
};

//! One schema of a snapshot. Entries are made when they are first asked for.
class RemoteSchema : public duckdb::SchemaCatalogEntry {
public:
	RemoteSchema(RemoteCatalog &catalog, Snapshot &snapshot, duckdb::CreateSchemaInfo &info);

	void Add(EntryDescription description);
	//! The views and macros.
	void AddDefinitions(duckdb::vector<duckdb::reference<const EntryDescription>> &target) const;
	void AddSequences(duckdb::identifier_set_t &target) const;
	duckdb::optional_ptr<const EntryDescription> Describe(EntryKind kind, const duckdb::Identifier &name) const;

	void Scan(duckdb::ClientContext &context, duckdb::CatalogType type,
	          const std::function<void(duckdb::CatalogEntry &)> &callback) override;
	void Scan(duckdb::CatalogType type, const std::function<void(duckdb::CatalogEntry &)> &callback) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> LookupEntry(duckdb::CatalogTransaction transaction,
	                                                       const duckdb::EntryLookupInfo &lookup) override;
	//! What keeps the entries alive.
	Snapshot &GetSnapshot() const {
		return snapshot;
	}
	//! The table or view to scan under that name, or nothing.
	duckdb::optional_ptr<RemoteTable> FindTable(duckdb::ClientContext &context, const duckdb::Identifier &name);

	//! A view that reads files has other columns from now on, by name and type.
	void SetColumns(duckdb::ClientContext &context, RemoteTable &view,
	                const duckdb::vector<duckdb::vector<duckdb::Value>> &described);

	// Everything that changes the catalog is pushed down as a statement; what DuckDB asks for here it can't push.
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateIndex(duckdb::CatalogTransaction, duckdb::CreateIndexInfo &info,
	                                                       duckdb::TableCatalogEntry &table) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateFunction(duckdb::CatalogTransaction,
	                                                          duckdb::CreateFunctionInfo &info) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateTable(duckdb::CatalogTransaction,
	                                                       duckdb::BoundCreateTableInfo &info) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateView(duckdb::CatalogTransaction,
	                                                      duckdb::CreateViewInfo &info) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateSequence(duckdb::CatalogTransaction,
	                                                          duckdb::CreateSequenceInfo &info) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateType(duckdb::CatalogTransaction,
	                                                      duckdb::CreateTypeInfo &info) override;
	void DropEntry(duckdb::ClientContext &context, duckdb::DropInfo &info) override;
	void Alter(duckdb::CatalogTransaction transaction, duckdb::AlterInfo &info) override;

private:
	using Key = std::pair<int, duckdb::string>;
	static Key KeyOf(EntryKind kind, const duckdb::Identifier &name);

	duckdb::optional_ptr<duckdb::CatalogEntry> Create(duckdb::CatalogTransaction transaction,
	                                                  const duckdb::CreateInfo &info);
	void AddIndexColumns(duckdb::ClientContext &context, duckdb::CreateIndexInfo &info);
	duckdb::unique_ptr<duckdb::CatalogEntry> Make(duckdb::ClientContext &context, const EntryDescription &description);
	duckdb::CatalogEntry &GetOrMake(duckdb::ClientContext &context, const EntryDescription &description);
	template <class INFO>
	duckdb::unique_ptr<INFO> ParseCreate(duckdb::ClientContext &context, const EntryDescription &description) const;
	//! Of a macro, as the client's DuckDB chooses among overloads. What it doesn't know takes any argument.
	duckdb::LogicalType ParameterType(duckdb::ClientContext &context, const duckdb::LogicalType &type);
	duckdb::unique_ptr<duckdb::CreateMacroInfo> MacroInfo(duckdb::ClientContext &context,
	                                                      const EntryDescription &description);
	//! A macro as the client can unfold it; it is listed, and copied, as the driver has it.
	duckdb::CatalogEntry &CalledMacro(duckdb::ClientContext &context, const EntryDescription &description);

	RemoteCatalog &remote_catalog;
	Snapshot &snapshot;
	OwnFunctions own_functions;
	std::map<Key, EntryDescription> descriptions;
	std::mutex lock;
	std::map<Key, duckdb::unique_ptr<duckdb::CatalogEntry>> entries;
	std::map<Key, duckdb::unique_ptr<duckdb::CatalogEntry>> called_macros;
	//! Views as tables to scan, and tables under the names that the client registered for them.
	std::map<duckdb::string, duckdb::unique_ptr<RemoteTable>> scanned;
	//! Those with columns that views of files had before: whoever has bound them may still run.
	duckdb::vector<duckdb::unique_ptr<RemoteTable>> former;
};

//! The whole catalog of a driver, as one session saw it.
class Snapshot : public duckdb::enable_shared_from_this<Snapshot> {
public:
	//! Asks the driver; if `previous` is still what it holds, that is the answer.
	static duckdb::shared_ptr<Snapshot> Fetch(duckdb::ClientContext &context, RemoteCatalog &catalog, Session &session,
	                                          const duckdb::shared_ptr<Snapshot> &previous, bool in_transaction);

	duckdb::optional_ptr<RemoteSchema> FindSchema(const duckdb::Identifier &name);
	void ScanSchemas(const std::function<void(RemoteSchema &)> &callback);
	duckdb::idx_t Version() const {
		return version;
	}
	//! The views and macros.
	duckdb::vector<duckdb::reference<const EntryDescription>> Definitions() const;
	//! The names of all sequences.
	duckdb::identifier_set_t Sequences() const;
	//! Whether a schema has a table of that name.
	bool HasTable(const duckdb::Identifier &name) const;
	//! Whether a view or macro is to be bound here; see clients_entries.hpp.
	bool IsClients(const duckdb::Identifier &entry) const {
		return clients_entries.count(entry) > 0;
	}
	const duckdb::identifier_set_t &ClientsEntries() const {
		return clients_entries;
	}
	//! What the driver calls its database.
	const duckdb::Identifier &Database() const {
		return database;
	}

private:
	explicit Snapshot(RemoteCatalog &catalog) : catalog(catalog) {
	}
	void Add(const DhCatalogEntry &entry);
	RemoteSchema &GetOrMakeSchema(const duckdb::Identifier &name);

	RemoteCatalog &catalog;
	duckdb::idx_t version = 0;
	duckdb::Identifier database;
	duckdb::identifier_set_t clients_entries;
	std::map<duckdb::string, duckdb::unique_ptr<RemoteSchema>> schemas;
};

} // namespace duckherder
