#include "views_of_client.hpp"

#include "client_functions.hpp"
#include "clients_entries.hpp"
#include "cte_names.hpp"
#include "searched_names.hpp"
#include "snapshot.hpp"
#include "transaction.hpp"

#include "duckdb/catalog/catalog_entry_retriever.hpp"
#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class ClientReader {
public:
	ClientReader(ClientContext &context, RemoteCatalog &catalog, Identifier schema)
	    : context(context), catalog(catalog), schema(std::move(schema)),
	      snapshot(RemoteTransaction::Get(context, catalog).GetSnapshot(context)) {
	}

	//! Whether the query reads something of the client's. A temporary table's name gets its schema's, too: the driver would
	//! take `temp.t` for one of a schema.
	bool Reads(QueryNode &node) {
		Look(node);
		return found;
	}

private:
	void Look(QueryNode &node) {
		ctes.CollectWithUnread(node);
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Look(*child, CatalogType::SCALAR_FUNCTION_ENTRY); },
		    [&](TableRef &ref) {
			    if (ctes.IsUnread(ref)) {
				    return;
			    }
			    if (ref.type == TableReferenceType::BASE_TABLE) {
				    auto &name = ref.Cast<BaseTableRef>().GetQualifiedNameMutable();
				    if (name.Path().size() > 1 || !ctes.Has(name.Name())) {
					    Look(name, CatalogType::TABLE_ENTRY, ref.query_location);
				    }
			    } else if (ref.type == TableReferenceType::TABLE_FUNCTION) {
				    Look(*ref.Cast<TableFunctionRef>().function, CatalogType::TABLE_FUNCTION_ENTRY);
			    }
		    });
	}

	void Look(ParsedExpression &expression, CatalogType type) {
		if (ctes.IsUnread(expression)) {
			return;
		}
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			Look(expression.Cast<FunctionExpression>().GetQualifiedNameMutable(), type);
			found = found || CallsClientFunction(catalog.GetDatabase(), expression);
		} else if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Look(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(expression, [&](unique_ptr<ParsedExpression> &child) {
			Look(*child, CatalogType::SCALAR_FUNCTION_ENTRY);
		});
	}

	//! What there is nothing of is DuckDB's error, which has similar names of all databases in mind.
	void CheckFound(const QualifiedName &name, const QueryLocation &location) {
		// Somebody may have made the schema since we last asked.
		auto &schema_name = name.Schema();
		auto fresh = schema_name.empty() ? nullptr : RemoteTransaction::Get(context, catalog).Validate(context);
		if (fresh && fresh->FindSchema(schema_name)) {
			return;
		}
		CatalogEntryRetriever retriever(context);
		retriever.SetSearchPath(
		    {CatalogSearchEntry(catalog.GetName(), schema), CatalogSearchEntry(catalog.GetName(), Identifier(), true)});
		EntryLookupInfo lookup(CatalogType::TABLE_ENTRY, name, QueryErrorContext(location));
		retriever.GetEntry(lookup, OnEntryNotFound::THROW_EXCEPTION);
	}

	void Look(QualifiedName &name, CatalogType type, const QueryLocation &location = QueryLocation()) {
		auto &path = name.Path();
		if (path.size() <= 2) {
			auto there = snapshot->FindSchema(path.size() == 1 ? schema : path[0]);
			if (there && IsThere(*there, name.Name(), type)) {
				return;
			}
			if (there && path.size() == 2) {
				return;
			}
		}
		auto resolved = name;
		Binder::BindSchemaOrCatalog(context, resolved);
		auto entry = Catalog::GetEntry(context, EntryLookupInfo(type, resolved), OnEntryNotFound::RETURN_NULL);
		if (!entry && type == CatalogType::TABLE_ENTRY && IsWord(name.Name())) {
			CheckFound(resolved, location);
		}
		if (!entry || entry->internal || dynamic_cast<RemoteCatalog *>(&entry->ParentCatalog())) {
			return;
		}
		found = true;
		if (path.size() == 1) {
			return;
		}
		auto &owner = entry->ParentCatalog();
		if (!owner.IsTemporaryCatalog()) {
			// The driver may have a database of that name, and with it something else.
			throw NotImplementedException("a view of \"%s\" can't read %s, which is of a database of the client's",
			                              catalog.GetName().GetIdentifierName(), name.ToString());
		}
		name = QualifiedName(owner.GetName(), entry->ParentSchema().name, entry->name);
	}

	//! Whether the driver has it. A view that it can't bind reads something of the client's itself.
	bool IsThere(const RemoteSchema &there, const Identifier &name, CatalogType type) {
		if (type == CatalogType::TABLE_ENTRY) {
			auto view = there.Describe(EntryKind::VIEW, name);
			found = found || (view && IsUnbound(*view));
			QualifiedName registered;
			return view || there.Describe(EntryKind::TABLE, name) || catalog.FindRegistered(name, registered);
		}
		auto kind = type == CatalogType::SCALAR_FUNCTION_ENTRY ? EntryKind::SCALAR_MACRO : EntryKind::TABLE_MACRO;
		return static_cast<bool>(there.Describe(kind, name));
	}

	ClientContext &context;
	RemoteCatalog &catalog;
	//! The view's, where names alone are looked for first.
	const Identifier schema;
	const shared_ptr<Snapshot> snapshot;
	CTENames ctes;
	bool found = false;
};

bool BindHere(ClientContext &context, RemoteCatalog &catalog, CreateStatement &statement) {
	auto &view = statement.info->Cast<CreateViewInfo>();
	auto &name = view.GetQualifiedName();
	auto &path = name.Path();
	if (!view.query || path.size() > 2 || view.binding_mode == CreateViewBindingMode::SKIP_BINDING) {
		return false;
	}
	auto schema = path.size() == 2 ? path[0] : catalog.InDefaultSchema(context, name.Name()).Schema();
	if (!ClientReader(context, catalog, schema).Reads(*view.query->node)) {
		return false;
	}
	auto here = statement.Copy();
	here->Cast<CreateStatement>().info->SetQualifiedName(QualifiedName(catalog.GetName(), schema, name.Name()));
	Binder::CreateBinder(context)->Bind(*here);
	view.binding_mode = CreateViewBindingMode::SKIP_BINDING;
	view.SetQualifiedName(catalog.NameThere(context, name));
	return true;
}

} // namespace duckherder
