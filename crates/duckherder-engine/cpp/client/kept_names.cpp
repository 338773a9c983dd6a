#include "rewriter.hpp"

#include "transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

void StatementRewriter::KeepApart(FunctionExpression &call, const QueryLocation &location, CatalogType type) {
	if (!call.IsOperator()) {
		if (!ctes.IsUnread(call)) {
			CheckNames(call.GetQualifiedName(), location, type);
		}
		CheckReach(call.GetQualifiedName(), location, type);
		KeepApart(call.GetQualifiedNameMutable(), location, type);
	}
}

void StatementRewriter::KeepApart(QualifiedName &call, const QueryLocation &location, CatalogType type) {
	auto own = StripCatalog(call, type);
	auto &path = call.Path();
	auto of_main = path.size() == 1 || (path.size() == 2 && path[0] == Identifier::DefaultSchema());
	// What a view calls is looked for where the view is.
	if (of_view || of_text || !of_main || (!own && written.IsWritten(path[0], location))) {
		return;
	}
	QualifiedName of_system(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), call.Name());
	if (!Catalog::GetEntry(context, EntryLookupInfo(type, of_system), OnEntryNotFound::RETURN_NULL)) {
		return;
	}
	if (own || (path.size() == 1 ? written.IsCalledByMore(call.Name(), location)
	                             : written.IsCalledByCatalog(call.Name(), location))) {
		auto schema = path.size() == 1 ? searched.InSearchedSchema(type, call.Name()).Schema() : call.Schema();
		call = QualifiedName(DatabaseThere(), schema, call.Name());
	}
}

void StatementRewriter::KeepTableApart(QualifiedName &name) {
	auto &path = name.Path();
	if (path.size() > 2 || (path.size() == 2 && path[0] != Identifier::DefaultSchema())) {
		return;
	}
	auto schema = path.size() == 1 ? searched.InSearchedSchema(CatalogType::TABLE_ENTRY, name.Name()).Schema()
	                               : name.Schema();
	for (auto &of : {QualifiedName(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), name.Name()),
	                 QualifiedName(catalog.GetName(), schema, name.Name())}) {
		if (!Catalog::GetEntry(context, EntryLookupInfo(CatalogType::TABLE_ENTRY, of), OnEntryNotFound::RETURN_NULL)) {
			return;
		}
	}
	name = QualifiedName(DatabaseThere(), schema, name.Name());
}

const Identifier &StatementRewriter::DatabaseThere() {
	return RemoteTransaction::Get(context, catalog).GetSnapshot(context)->Database();
}

void StatementRewriter::CheckReach(const QualifiedName &name, const QueryLocation &location, CatalogType type) {
	if (of_macro && !of_text) {
		searched.CheckReach(name, location, type);
	}
}

void StatementRewriter::CheckNames(const QualifiedName &name, const QueryLocation &location, CatalogType type) {
	if (of_text) {
		return;
	}
	if (is_stored) {
		searched.CheckDatabase(name, location, type, of_view);
	}
	if (!is_stored || of_macro) {
		searched.Check(name, location, type);
	} else if (!of_view && !of_column && name.Path().size() == 2 && name.Path()[0] == catalog.GetName()) {
		searched.Check(QualifiedName(name.Name()), location, type, []() { return true; });
	}
}

void StatementRewriter::CheckTable(const BaseTableRef &table, bool is_cte) {
	auto plain = table.GetQualifiedName().Path().size() == 1;
	auto may_be_cte =
	    (is_cte || (plain && may_have_ctes)) && !written.IsQualified(table.Table(), table.query_location);
	QualifiedName registered;
	if (!may_be_cte && !catalog.FindRegistered(table.Table(), registered)) {
		CheckNames(table.GetQualifiedName(), table.query_location, CatalogType::TABLE_ENTRY);
	}
}

bool StatementRewriter::RenameTable(QualifiedName &name) {
	QualifiedName remote;
	auto plain = name.Schema().empty() || name.Schema() == DEFAULT_SCHEMA;
	if (!plain || !catalog.FindRegistered(name.Name(), remote)) {
		return false;
	}
	name = remote;
	return true;
}

} // namespace duckherder
