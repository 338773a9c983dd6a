// A driver, attached: the catalog that DuckDB hands whole statements to.
#pragma once

#include "driver.hpp"
#include "session_settings.hpp"
#include "duckdb/catalog/catalog.hpp"
#include "snapshot.hpp"

#include <atomic>
#include <mutex>

namespace duckherder {

//! One client connection's session on one driver, and what it last saw of the catalog there.
struct CatalogSession {
	explicit CatalogSession(const Driver &driver) : session(driver) {
	}
	Session session;
	std::mutex lock;
	duckdb::shared_ptr<Snapshot> snapshot;
	//! Whether a statement of this session may have changed the catalog since.
	bool stale = false;
};

//! The sessions of a driver by client connection; outlives neither the attachment nor the connections.
class SessionRegistry {
public:
	duckdb::shared_ptr<CatalogSession> GetOrOpen(duckdb::idx_t connection_id, const Driver &driver);
	void Close(duckdb::idx_t connection_id);
	void CloseAll();

private:
	std::mutex lock;
	duckdb::unordered_map<duckdb::idx_t, duckdb::shared_ptr<CatalogSession>> sessions;
};

class RemoteCatalog : public duckdb::Catalog {
public:
	RemoteCatalog(duckdb::AttachedDatabase &db, duckdb::ClientContext &context, DriverPlace place);
	~RemoteCatalog() override;

	//! The attached driver of that alias; with an empty alias the default database, or the only driver there is.
	static RemoteCatalog &Find(duckdb::ClientContext &context, const duckdb::string &alias);

	const Driver &GetDriver() const {
		return driver;
	}
	//! The context's session; opened when first asked for.
	duckdb::shared_ptr<CatalogSession> GetSession(duckdb::ClientContext &context);
	//! Points the attachment to another place; sessions begin anew there.
	void Replace(duckdb::ClientContext &context, const duckdb::string &driver_id, const duckdb::string &location);

	//! Whether `other` is an attachment of the same driver, as far as is known.
	bool IsOfDriver(const RemoteCatalog &other) const;

	//! Makes `local` another name of the driver's `remote`, which the driver remembers.
	void RegisterTable(duckdb::ClientContext &context, const duckdb::Identifier &local, const duckdb::string &remote);
	void UnregisterTable(duckdb::ClientContext &context, const duckdb::Identifier &local);
	bool FindRegistered(const duckdb::Identifier &local, duckdb::QualifiedName &remote);

	//! Remembers what decides whether statements go to the driver whole, where no session's snapshot can be asked: the
	//! views and macros that are bound here, and the names of sequences.
	void Saw(const Snapshot &snapshot);
	//! Whether a sequence's name without the catalog's may be that of one of the driver's.
	bool MayMeanSequence(const duckdb::Identifier &name);
	//! It was that of another. Has the statement bound once more, and none with that name go there any more.
	[[noreturn]] void MeantOtherSequence(duckdb::ClientContext &context, const duckdb::Identifier &name);

	//! What the driver needs to run `sql` as this context's session would.
	RemoteStatement MakeStatement(duckdb::ClientContext &context, duckdb::string sql) const;
	//! Runs a statement whose rows nobody wants.
	void Run(duckdb::ClientContext &context, const duckdb::string &sql);
	//! The rows of a query; few ones, they are kept.
	duckdb::vector<duckdb::vector<duckdb::Value>> QueryRows(duckdb::ClientContext &context, const duckdb::string &sql,
	                                                        const duckdb::vector<duckdb::LogicalType> &types);
	void RunDrop(duckdb::ClientContext &context, const duckdb::DropInfo &info);
	void RunAlter(duckdb::ClientContext &context, const duckdb::AlterInfo &info);
	//! For a statement that DuckDB did not hand over whole: after `USE dh`, CREATE TABLE s.t.
	void RunCreate(duckdb::ClientContext &context, const duckdb::CreateInfo &info);
	//! Whether names alone are never looked for there.
	bool IsElsewhere(duckdb::ClientContext &context) const;
	//! Whether it is the default database: names alone are looked for in its `main`, too, whatever schema is used.
	bool IsDefault(duckdb::ClientContext &context) const;
	//! Its schemas in the search path.
	duckdb::vector<duckdb::Identifier> SearchedSchemas(duckdb::ClientContext &context) const;
	//! The name of something there that the user has named without a schema.
	duckdb::QualifiedName InDefaultSchema(duckdb::ClientContext &context, const duckdb::Identifier &name) const;
	//! The name by which DDL tells the driver of something here.
	duckdb::QualifiedName NameThere(duckdb::ClientContext &context, const duckdb::QualifiedName &name);
	//! The same for a schema, whose path is the catalog and its own name.
	duckdb::QualifiedName SchemaThere(duckdb::ClientContext &context, const duckdb::QualifiedName &name);

	void Initialize(bool load_builtin) override;
	void Initialize(duckdb::optional_ptr<duckdb::ClientContext> context, bool load_builtin) override;
	duckdb::string GetCatalogType() override {
		return "duckherder";
	}
	duckdb::optional_ptr<duckdb::SchemaCatalogEntry> LookupSchema(duckdb::CatalogTransaction transaction,
	                                                              const duckdb::EntryLookupInfo &lookup,
	                                                              duckdb::OnEntryNotFound if_not_found) override;
	void ScanSchemas(duckdb::ClientContext &context,
	                 std::function<void(duckdb::SchemaCatalogEntry &)> callback) override;
	duckdb::optional_ptr<duckdb::CatalogEntry> CreateSchema(duckdb::CatalogTransaction,
	                                                        duckdb::CreateSchemaInfo &info) override;
	void DropSchema(duckdb::ClientContext &context, duckdb::DropInfo &info) override;
	//! Whether a name that is a database's is a schema's, too, as far as is known here: to ask the driver each time would
	//! take a call.
	bool CheckAmbiguousCatalogOrSchema(duckdb::ClientContext &context, const duckdb::Identifier &schema) override;

	bool Supports(duckdb::RemoteCapability) const override {
		return true;
	}
	duckdb::unique_ptr<duckdb::TableRef> RemoteExecute(duckdb::ClientContext &context,
	                                                   duckdb::unique_ptr<duckdb::QueryNode> node) override;
	duckdb::unique_ptr<duckdb::TableRef> RemoteExecute(duckdb::ClientContext &context,
	                                                   duckdb::unique_ptr<duckdb::SQLStatement> statement) override;
	duckdb::unique_ptr<duckdb::TableRef> RemoteExecute(duckdb::ClientContext &context,
	                                                   const duckdb::string &sql) override;
	bool SupportsPushdown(const duckdb::ParsedExpression &expression) override;
	bool SupportsPushdown(const duckdb::TableRef &ref) override;
	bool SupportsPushdown(const duckdb::QueryNode &node) override;
	bool SupportsPushdown(const duckdb::SQLStatement &statement) override;

	duckdb::unique_ptr<duckdb::LogicalOperator> BindCreateIndex(duckdb::Binder &binder, duckdb::CreateStatement &stmt,
	                                                            duckdb::TableCatalogEntry &table,
	                                                            duckdb::unique_ptr<duckdb::LogicalOperator> plan) override;

	duckdb::PhysicalOperator &PlanCreateTableAs(duckdb::ClientContext &context, duckdb::PhysicalPlanGenerator &planner,
	                                            duckdb::LogicalCreateTable &op,
	                                            duckdb::PhysicalOperator &plan) override;
	duckdb::PhysicalOperator &PlanInsert(duckdb::ClientContext &context, duckdb::PhysicalPlanGenerator &planner,
	                                     duckdb::LogicalInsert &op,
	                                     duckdb::optional_ptr<duckdb::PhysicalOperator> plan) override;
	duckdb::PhysicalOperator &PlanDelete(duckdb::ClientContext &context, duckdb::PhysicalPlanGenerator &planner,
	                                     duckdb::LogicalDelete &op, duckdb::PhysicalOperator &plan) override;
	duckdb::PhysicalOperator &PlanUpdate(duckdb::ClientContext &context, duckdb::PhysicalPlanGenerator &planner,
	                                     duckdb::LogicalUpdate &op, duckdb::PhysicalOperator &plan) override;

	duckdb::PhysicalOperator &PlanMergeInto(duckdb::ClientContext &context, duckdb::PhysicalPlanGenerator &planner,
	                                        duckdb::LogicalMergeInto &op, duckdb::PhysicalOperator &plan) override;

	duckdb::DatabaseSize GetDatabaseSize(duckdb::ClientContext &context) override;
	bool InMemory() override {
		return false;
	}
	duckdb::string GetDBPath() override;
	duckdb::string GetConnectDisplay() override {
		return GetDBPath();
	}

private:
	//! A name that begins with what is no catalog. DuckDB takes that for a schema that has schemas, and the driver's says
	//! that there is none.
	duckdb::QualifiedName NestedThere(duckdb::ClientContext &context, const duckdb::QualifiedName &name);
	bool IsClientsEntry(const duckdb::Identifier &name);
	//! Has the statement bound once more if it reads one that was not known to be bound here.
	void CheckClientsEntries(duckdb::ClientContext &context, duckdb::QueryNode &node);

	//! The schema that names without one are looked up in.
	duckdb::Identifier SessionSchema(duckdb::ClientContext &context) const;
	//! Where these are several, all of them, as the setting travels (`settings.rs`); empty if not.
	duckdb::string SessionPath(duckdb::ClientContext &context) const;

	//! An attachment of the driver's database of that name.
	duckdb::optional_ptr<RemoteCatalog> FindSibling(duckdb::ClientContext &context, const duckdb::Identifier &database);

	const DriverPlace place;
	//! See Replace.
	std::atomic<bool> replaced {false};
	Driver driver;
	duckdb::shared_ptr<SessionRegistry> sessions;
	mutable SessionSettings session_settings;
	std::mutex lock;
	//! By lower-cased name: those that the driver knew when it was attached, and those that were registered here.
	duckdb::unordered_map<duckdb::string, duckdb::QualifiedName> registered_tables;
	duckdb::unordered_set<duckdb::string> registered_here;
	//! As the session saw them that looked last.
	duckdb::identifier_set_t clients_entries;
	duckdb::identifier_set_t sequences;
	duckdb::identifier_set_t other_sequences;
};

//! Lets `ATTACH ... (TYPE duckherder)` work.
void RegisterAttach(duckdb::DBConfig &config);

} // namespace duckherder
