#include "searched_names.hpp"

#include "query_of.hpp"
#include "transaction.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/planner/binder.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! If it has none, names alone mean there what they mean here.
static bool HasOtherSchema(ClientContext &context, const RemoteCatalog &catalog) {
	auto schemas = catalog.SearchedSchemas(context);
	return !schemas.empty() && schemas[0] != Identifier::DefaultSchema();
}

SearchedNames::SearchedNames(ClientContext &context, RemoteCatalog &catalog, WrittenNames &written)
    : context(context), catalog(catalog), written(written), narrower(HasOtherSchema(context, catalog)) {
}

void SearchedNames::Check(const QualifiedName &name, const QueryLocation &location, CatalogType type) {
	Check(name, location, type, [&]() { return written.IsOfCatalog(name.Name(), location); });
}

void SearchedNames::Check(const QualifiedName &name, const QueryLocation &location, CatalogType type,
                          const std::function<bool()> &of_catalog) {
	auto &path = name.Path();
	auto plain = path.size() == 1;
	if (!narrower || path.size() > 2 || (path.size() == 2 && path[0] != Identifier::DefaultSchema())) {
		return;
	}
	QualifiedName in_main(catalog.GetName(), Identifier::DefaultSchema(), name.Name());
	if (!Catalog::GetEntry(context, EntryLookupInfo(type, in_main), OnEntryNotFound::RETURN_NULL)) {
		return;
	}
	auto searched = name;
	if (of_catalog()) {
		if (!plain) {
			return;
		}
		searched = QualifiedName(catalog.GetName(), Identifier(), name.Name());
	} else if (catalog.IsDefault(context)) {
		return;
	}
	EntryLookupInfo lookup(type, searched, QueryErrorContext(location));
	Catalog::GetEntry(context, lookup, OnEntryNotFound::THROW_EXCEPTION);
}

QualifiedName SearchedNames::InSearchedSchema(CatalogType type, const Identifier &name) const {
	auto first = catalog.InDefaultSchema(context, name);
	if (catalog.SearchedSchemas(context).size() < 2) {
		return first;
	}
	EntryLookupInfo lookup(type, QualifiedName(catalog.GetName(), Identifier(), name));
	auto found = Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL);
	return found ? QualifiedName(Identifier(), found->ParentSchema().name, name) : first;
}

void SearchedNames::CheckDatabase(const QualifiedName &name, const QueryLocation &location, CatalogType type,
                                  bool beside) {
	auto &path = name.Path();
	if (path.size() > 2 && path[0] != catalog.GetName()) {
		// The driver may have a database of that name, and with it something else.
		auto found = Catalog::GetEntry(context, EntryLookupInfo(type, name, QueryErrorContext(location)),
		                               OnEntryNotFound::THROW_EXCEPTION);
		if (!found->internal) {
			throw NotImplementedException("%s is not one of \"%s\", which this is of", name.ToString(),
			                              catalog.GetName().GetIdentifierName());
		}
		return;
	}
	if (path.size() != 2 || path[0] == catalog.GetName() ||
	    !DatabaseManager::Get(context).GetDatabase(context, path[0]) ||
	    !RemoteTransaction::Get(context, catalog).GetSnapshot(context)->FindSchema(path[0]) ||
	    written.IsOfCatalog(name.Name(), location)) {
		return;
	}
	auto retriever = beside ? Beside() : CatalogEntryRetriever(context);
	if (!Binder::BindTableName(retriever, name).Catalog().empty()) {
		throw NotImplementedException("%s is not one of \"%s\", which this is of", name.ToString(),
		                              catalog.GetName().GetIdentifierName());
	}
}

void SearchedNames::CheckReach(const QualifiedName &name, const QueryLocation &location, CatalogType type) {
	auto &path = name.Path();
	auto of_main = path.size() == 1 || (path.size() == 2 && path[0] == Identifier::DefaultSchema());
	if (!of_main || !catalog.IsElsewhere(context) || !written.IsWritten(path[0], location)) {
		return;
	}
	QualifiedName there(catalog.GetName(), Identifier::DefaultSchema(), name.Name());
	EntryLookupInfo here(type, name, QueryErrorContext(location));
	if (!Catalog::GetEntry(context, EntryLookupInfo(type, there), OnEntryNotFound::RETURN_NULL)) {
		// A table that nobody has is DuckDB's error, which has similar names of all databases in mind.
		auto nobodys = type == CatalogType::TABLE_ENTRY && IsWord(name.Name()) &&
		               !Catalog::GetEntry(context, here, OnEntryNotFound::RETURN_NULL);
		if (!nobodys) {
			return;
		}
	}
	auto found = Catalog::GetEntry(context, here, OnEntryNotFound::THROW_EXCEPTION);
	if (!found->internal) {
		throw NotImplementedException("%s is not one of \"%s\", which this macro is of", name.ToString(),
		                              catalog.GetName().GetIdentifierName());
	}
}

void SearchedNames::SetSubject(const QualifiedName &name) {
	auto &path = name.Path();
	subject_schema = path.size() > 1 ? path[path.size() - 2] : Identifier();
}

Identifier SearchedNames::SubjectSchema() const {
	return subject_schema.empty() ? ClientData::Get(context).catalog_search_path->GetDefaultSchema(catalog.GetName())
	                              : subject_schema;
}

CatalogEntryRetriever SearchedNames::Beside() const {
	CatalogEntryRetriever retriever(context);
	// The second one stands for all schemas of the database, as in Binder::SetSearchPath.
	retriever.SetSearchPath({CatalogSearchEntry(catalog.GetName(), SubjectSchema()),
	                         CatalogSearchEntry(catalog.GetName(), Identifier())});
	return retriever;
}

CatalogEntryRetriever SearchedNames::BesideTable() const {
	CatalogEntryRetriever retriever(context);
	// As Binder::CreateBinderWithSearchPath.
	retriever.SetSearchPath({CatalogSearchEntry(catalog.GetName(), SubjectSchema()),
	                         CatalogSearchEntry(catalog.GetName(), Identifier::DefaultSchema())});
	return retriever;
}

bool SearchedNames::NameFilling(QueryNode &node) {
	auto target = TargetOf(node);
	if (!target || !FillsColumn(node)) {
		return false;
	}
	SetSubject(*target);
	if (subject_schema.empty()) {
		SetSubject(InSearchedSchema(CatalogType::TABLE_ENTRY, target->Name()));
	}
	for (auto &value : node.Cast<UpdateQueryNode>().set_info->expressions) {
		NameBesideTable(*value);
	}
	return true;
}

void SearchedNames::NameBesideTable(ParsedExpression &value) const {
	if (value.GetExpressionClass() == ExpressionClass::FUNCTION) {
		auto &call = value.Cast<FunctionExpression>();
		auto &name = call.GetQualifiedNameMutable();
		EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY,
		                       QualifiedName(catalog.GetName(), Identifier(), name.Name()));
		auto found = name.Path().size() == 1 ? BesideTable().GetEntry(lookup, OnEntryNotFound::RETURN_NULL) : nullptr;
		if (found) {
			auto &database = RemoteTransaction::Get(context, catalog).GetSnapshot(context)->Database();
			name = QualifiedName(database, found->ParentSchema().name, name.Name());
		}
	}
	ParsedExpressionIterator::EnumerateChildren(
	    value, [&](unique_ptr<ParsedExpression> &child) { NameBesideTable(*child); });
}

} // namespace duckherder
