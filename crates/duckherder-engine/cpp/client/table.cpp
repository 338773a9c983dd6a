// Tables and views of a driver as DuckDB binds them.
#include "catalog.hpp"
#include "connection_state.hpp"
#include "scan.hpp"
#include "snapshot.hpp"
#include "transaction.hpp"
#include "views_of_files.hpp"
#include "wire_type.hpp"

#include "duckdb/parser/constraints/not_null_constraint.hpp"
#include "duckdb/parser/constraints/unique_constraint.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/storage/statistics/base_statistics.hpp"
#include "duckdb/storage/table_storage_info.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

RemoteTable::RemoteTable(RemoteCatalog &catalog_p, Snapshot &snapshot_p, SchemaCatalogEntry &schema_p,
                         const EntryDescription &description_p, CreateTableInfo &info)
    : TableCatalogEntry(catalog_p, schema_p, info), remote_catalog(catalog_p), snapshot(snapshot_p),
      description(description_p), columns(std::move(info.columns)) {
}

QualifiedName RemoteTable::RemoteName() const {
	return QualifiedName(Identifier(), description.schema, description.name);
}

bool RemoteTable::HasColumns(ClientContext &context, const vector<vector<Value>> &described) const {
	if (described.size() != columns.LogicalColumnCount()) {
		return false;
	}
	for (idx_t i = 0; i < described.size() && *opens_files; i++) {
		auto &column = columns.GetColumn(LogicalIndex(i));
		// DESCRIBE leaves collations out.
		auto type = ParseWireType(context, described[i][1].ToString());
		auto same = type.id() == LogicalTypeId::UNKNOWN || type == WithoutCollations(column.Type());
		if (column.Name() != Identifier(described[i][0].ToString()) || !same) {
			return false;
		}
	}
	return true;
}

void RemoteTable::Show(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	if (!opens_files) {
		opens_files = OpensFiles(context, snapshot, description);
	}
	if (shown && !*opens_files) {
		return;
	}
	vector<LogicalType> texts(6, LogicalType::VARCHAR);
	auto rows = remote_catalog.QueryRows(context, "DESCRIBE SELECT * FROM " + RemoteName().ToString(), texts);
	if (!HasColumns(context, rows)) {
		if (*opens_files) {
			schema.Cast<RemoteSchema>().SetColumns(context, *this, rows);
		}
		ConnectionState::Get(context)->RequestRebind();
		throw TransactionException("\"%s\" was changed on the driver while the statement was being bound",
		                           name.GetIdentifierName());
	}
	if (shown) {
		return;
	}
	CreateTableInfo info(schema, name);
	for (idx_t i = 0; i < rows.size(); i++) {
		auto &is_null = rows[i][2], &key = rows[i][3], &default_value = rows[i][4];
		LogicalIndex index(i);
		auto column = columns.GetColumn(index).Copy();
		if (!default_value.IsNull()) {
			Parser parser(context);
			column.SetDefaultValue(parser.ParseSingleExpression(default_value.ToString()));
		}
		if (is_null.ToString() == "NO") {
			info.constraints.push_back(make_uniq<NotNullConstraint>(index));
		}
		if (!key.IsNull()) {
			info.constraints.push_back(make_uniq<UniqueConstraint>(index, column.Name(), key.ToString() == "PRI"));
		}
		info.columns.AddColumn(std::move(column));
	}
	shown = make_uniq<RemoteTable>(remote_catalog, snapshot, schema, description, info);
}

TableFunction RemoteTable::GetScanFunction(ClientContext &context, unique_ptr<FunctionData> &bind_data) {
	for (auto &column : columns.Logical()) {
		if (column.Type().id() == LogicalTypeId::UNKNOWN) {
			throw NotImplementedException("the driver describes \"%s\" by what this client can't read: %s",
			                              name.GetIdentifierName(), description.sql);
		}
	}
	auto &transaction = RemoteTransaction::Get(context, remote_catalog);
	transaction.CheckCurrent(context, *this);
	ConnectionState::Get(context)->BindOtherwise(context);
	transaction.AddOperation(context);
	if (description.kind == EntryKind::VIEW) {
		Show(context);
	}
	bind_data = make_uniq<ScanData>(*this);
	return ScanFunction();
}

TableStorageInfo RemoteTable::GetStorageInfo(ClientContext &context) {
	TableStorageInfo info;
	if (description.kind != EntryKind::TABLE) {
		return info;
	}
	info.cardinality = description.estimated_rows;
	for (auto &constraint : GetConstraints()) {
		if (constraint->type != ConstraintType::UNIQUE) {
			continue;
		}
		auto &unique = constraint->Cast<UniqueConstraint>();
		IndexInfo index_info;
		index_info.is_unique = true;
		index_info.is_primary = unique.IsPrimaryKey();
		index_info.is_foreign = false;
		for (auto &column : unique.GetLogicalIndexes(columns)) {
			index_info.column_set.insert(columns.LogicalToPhysical(column).index);
		}
		info.index_info.push_back(std::move(index_info));
	}
	auto remote_schema = snapshot.FindSchema(description.schema);
	if (!remote_schema) {
		return info;
	}
	remote_schema->Scan(context, CatalogType::INDEX_ENTRY, [&](CatalogEntry &entry) {
		auto &index = entry.Cast<IndexCatalogEntry>();
		if (index.GetTableName() == description.name) {
			IndexInfo index_info;
			index_info.is_unique = index.IsUnique();
			index_info.is_primary = index.IsPrimary();
			index_info.is_foreign = false;
			index_info.column_set.insert(index.column_ids.begin(), index.column_ids.end());
			info.index_info.push_back(std::move(index_info));
		}
	});
	return info;
}

virtual_column_map_t RemoteTable::GetVirtualColumns() const {
	virtual_column_map_t result;
	result.insert({COLUMN_IDENTIFIER_EMPTY, TableColumn(Identifier(), LogicalType::BOOLEAN)});
	if (description.kind == EntryKind::TABLE) {
		result.insert({COLUMN_IDENTIFIER_ROW_ID, TableColumn(Identifier("rowid"), LogicalType::ROW_TYPE)});
	}
	return result;
}

vector<column_t> RemoteTable::GetRowIdColumns() const {
	return {COLUMN_IDENTIFIER_ROW_ID};
}

unique_ptr<CreateInfo> RemoteTable::GetInfo() const {
	return told ? told->Copy() : TableCatalogEntry::GetInfo();
}

void RemoteTable::BindUpdateConstraints(Binder &, LogicalGet &, LogicalProjection &, LogicalUpdate &, ClientContext &) {
	// The driver checks every constraint; the client sends the changed columns only.
}

} // namespace duckherder
