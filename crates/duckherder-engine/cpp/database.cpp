// Instances and connections of the embedded DuckDB, for src/database.rs and src/connection.rs.
#include "connection.hpp"

#include "arrow_source.hpp"
#include "distribute/task_planning.hpp"
#include "index_builds.hpp"
#include "named_by_client.hpp"
#include "names_of_client.hpp"
#include "replayed_log.hpp"
#include "settings.hpp"
#include "duckdb/catalog/catalog.hpp"
#include "duckdb/main/client_config.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/parser/parsed_data/attach_info.hpp"
#include "duckdb/parser/parsed_data/detach_info.hpp"
#include "duckdb/parser/statement/attach_statement.hpp"
#include "duckdb/parser/statement/detach_statement.hpp"
#include "duckdb/storage/buffer_manager.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;
using duckherder::ToString;

//! What a database is opened with, but for its own settings.
static void Configure(DBConfig &config, const shared_ptr<duckherder::StoredFiles> &files) {
	if (files) {
		config.file_system = duckherder::MakeFileSystem(files);
		// What a database no longer needs takes no space.
		config.options.trim_free_blocks = true;
		// A commit is seen once it is in the log, which has it before its checkpoint.
		config.SetOptionByName(Identifier(AutoCheckpointSkipWalThresholdSetting::Name),
		                       Value::UBIGINT(NumericLimits<idx_t>::Maximum()));
	} else {
		// A COPY TO Parquet that fails while other threads write would never end (DuckDB 2.0.0:
		// ManagedAsyncWriteStreamQueue::AbortWrites waits, under its lock, for writes that want the lock). These
		// threads also read ahead, which pays where files are far away.
		config.options.async_threads = 0;
	}
}

static unique_ptr<AttachStatement> Attach(const string &path, const string &name) {
	auto statement = make_uniq<AttachStatement>();
	statement->info = make_uniq<AttachInfo>();
	statement->info->path = path;
	statement->info->name = Identifier(name);
	return statement;
}

static unique_ptr<DetachStatement> Detach(const string &name) {
	auto statement = make_uniq<DetachStatement>();
	statement->info = make_uniq<DetachInfo>();
	statement->info->name = Identifier(name);
	return statement;
}

//! Runs a statement to its end.
static void Run(DhConnection &connection, unique_ptr<SQLStatement> statement) {
	auto mark = connection.statements->Mark(*connection.context, duckherder::ReachOf(*statement));
	connection.Query(std::move(statement))->ThrowIfError();
}

extern "C" {

//! With `table`, files of paths "stored://NAME" are those of `files`, which is taken over whatever happens.
DhDatabase *dh_database_open(DhText path, const DhText *names, const DhText *values, size_t count,
                             const DhFilesTable *table, void *files_p, DhError *error) {
	return Guard<DhDatabase *>(error, nullptr, [&]() {
		shared_ptr<duckherder::StoredFiles> files;
		if (table) {
			files = make_shared_ptr<duckherder::StoredFiles>(*table, files_p);
		}
		auto open = [&](bool checkpoint_on_shutdown) {
			DBConfig config;
			Configure(config, files);
			for (size_t i = 0; i < count; i++) {
				config.SetOptionByName(Identifier(ToString(names[i])), Value(ToString(values[i])));
			}
			config.options.checkpoint_on_shutdown = checkpoint_on_shutdown;
			return make_uniq<DhDatabase>(ToString(path), &config);
		};
		auto system = files ? duckherder::MakeFileSystem(files) : FileSystem::CreateLocal();
		if (duckherder::HasTwoLogs(*system, ToString(path))) {
			open(false);
		}
		auto database = open(true);
		database->files = std::move(files);
		duckherder::RegisterExchangeScan(*database->instance);
		duckherder::RegisterNamedByClient(*database->instance);
		duckherder::RegisterCurrentSchema(*database->instance);
		duckherder::RegisterTaskPlanning(DBConfig::GetConfig(*database->instance));
		duckherder::RegisterIndexBuilds(DBConfig::GetConfig(*database->instance));
		// Each task binds its files anew. DuckDB looks at their times before it believes what it remembers.
		DBConfig::GetConfig(*database->instance).SetOptionByName("parquet_metadata_cache", Value::BOOLEAN(true));
		duckherder::RegisterSettings(DBConfig::GetConfig(*database->instance));
		Connection connection(*database);
		duckherder::CatchUpIndexes(*connection.context);
		return database.release();
	});
}

void dh_database_close(DhDatabase *database) {
	delete database;
}

DhConnection *dh_connection_open(DhDatabase *database, DhError *error) {
	return Guard<DhConnection *>(error, nullptr, [&]() {
		auto connection = make_uniq<DhConnection>(*database);
		// Without a statement, which would have to be parsed.
		Settings::Set(*connection->context, ArrowLosslessConversionSetting::SettingIndex, SetScope::SESSION,
		              Value::BOOLEAN(true));
		return connection.release();
	});
}

void dh_connection_close(DhConnection *connection) {
	delete connection;
}

//! Runs a script; its results are thrown away.
bool dh_connection_execute(DhConnection *connection, DhText sql, DhError *error) {
	return Guard(error, false, [&]() {
		for (auto &statement : connection->ExtractStatements(ToString(sql))) {
			Run(*connection, std::move(statement));
		}
		return true;
	});
}

//! Opens another database in the same instance.
bool dh_connection_attach(DhConnection *connection, DhText path_p, DhText name_p, DhError *error) {
	return Guard(error, false, [&]() {
		auto path = ToString(path_p);
		auto name = ToString(name_p);
		duckherder::UniteLogs(*connection->context, path);
		Run(*connection, Attach(path, name));
		try {
			duckherder::CatchUpIndexes(*connection->context, Identifier(name));
		} catch (...) {
			auto mark = connection->statements->Mark(*connection->context, duckherder::Reach::ANYTHING);
			// Whatever comes of it: that the indexes are not well is what has to be told.
			connection->Query(Detach(name));
			throw;
		}
		return true;
	});
}

//! To be called after an extension was loaded that the indexes of a database may need.
bool dh_connection_catch_up_indexes(DhConnection *connection, DhError *error) {
	return Guard(error, false, [&]() {
		duckherder::CatchUpIndexes(*connection->context);
		return true;
	});
}

bool dh_connection_in_transaction(DhConnection *connection) {
	return !connection->IsAutoCommit();
}

//! A number that rises with every change of the catalog, as this connection sees it.
uint64_t dh_connection_catalog_version(DhConnection *connection, DhError *error) {
	return Guard<uint64_t>(error, 0, [&]() {
		uint64_t version = 0;
		auto &context = *connection->context;
		context.RunFunctionInTransaction([&]() {
			auto &catalog = Catalog::GetCatalog(context, DatabaseManager::GetDefaultDatabase(context));
			auto known = catalog.GetCatalogVersion(context);
			version = known.IsValid() ? known.GetIndex() : 0;
		});
		return version;
	});
}

//! Plans that connections keep are made anew: something has changed that they depend on.
void dh_database_forget_plans(DhDatabase *database) {
	database->changes->generation++;
}

//! What the instance has of its machine: threads, the bytes of memory that it uses, and may use.
bool dh_database_resources(DhDatabase *database, uint64_t *threads, uint64_t *used_bytes, uint64_t *limit_bytes,
                           DhError *error) {
	return Guard(error, false, [&]() {
		auto &buffers = BufferManager::GetBufferManager(*database->instance);
		*threads = NumericCast<uint64_t>(TaskScheduler::GetScheduler(*database->instance).NumberOfThreads());
		*used_bytes = buffers.GetUsedMemory();
		*limit_bytes = buffers.GetMaxMemory();
		return true;
	});
}

//! Whether DuckDB estimates how far the statements that begin from now on are.
void dh_connection_watch(DhConnection *connection, bool watched) {
	auto &config = ClientConfig::GetConfig(*connection->context);
	config.enable_progress_bar = watched;
	config.print_progress_bar = false;
}

//! A handle that can stop what the connection runs, from any thread; it does not keep the connection alive.
weak_ptr<ClientContext> *dh_interrupter_new(DhConnection *connection) {
	return new weak_ptr<ClientContext>(connection->context);
}

void dh_interrupter_interrupt(weak_ptr<ClientContext> *interrupter) {
	auto context = interrupter->lock();
	if (context) {
		context->Interrupt();
	}
}

//! Percent of what the connection runs, by DuckDB's estimate; below 0 if it does not know, or the connection is not
//! watched.
double dh_interrupter_progress(weak_ptr<ClientContext> *interrupter) {
	auto context = interrupter->lock();
	return context ? context->GetQueryProgress().GetPercentage() : -1;
}

void dh_interrupter_free(weak_ptr<ClientContext> *interrupter) {
	delete interrupter;
}

} // extern "C"
