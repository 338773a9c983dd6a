#include "type_names.hpp"

#include "duckdb/catalog/catalog_entry/type_catalog_entry.hpp"
#include "duckdb/planner/binder.hpp"
#include "wire_type.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

optional_ptr<CatalogEntry> TypeNames::Find(const TypeExpression &type, bool beside, bool of_statement) {
	auto retriever = beside ? searched.Beside() : CatalogEntryRetriever(context);
	auto name = type.GetQualifiedName();
	if (name.Path().size() == 2) {
		if (of_statement && written.IsOfCatalog(type.GetTypeName(), type.GetQueryLocation())) {
			return nullptr;
		}
		name = Binder::BindTableName(retriever, name);
	}
	return retriever.GetEntry(EntryLookupInfo(CatalogType::TYPE_ENTRY, name), OnEntryNotFound::RETURN_NULL);
}

unique_ptr<TypeExpression> TypeNames::Define(const TypeExpression &type, bool beside, bool of_statement) {
	auto &name = type.GetQualifiedName();
	auto in_schema = name.Catalog() == catalog.GetName();
	if (in_schema || (name.Catalog().empty() && name.Schema() == catalog.GetName())) {
		auto result = unique_ptr_cast<ParsedExpression, TypeExpression>(type.Copy());
		QualifiedName own(name.Name());
		if (!in_schema && !of_change && !(beside && IsTypeThere(own))) {
			searched.Check(own, type.GetQueryLocation(), CatalogType::TYPE_ENTRY, []() { return true; });
		}
		result->SetQualifiedName(in_schema ? name.WithCatalog(Identifier()) : own);
		return result;
	}
	if (beside && IsTypeThere(name)) {
		searched.CheckDatabase(name, type.GetQueryLocation(), CatalogType::TYPE_ENTRY, true);
		return nullptr;
	}
	auto entry = Find(type, beside, of_statement);
	if (entry && !entry->internal && &entry->ParentCatalog() != &catalog &&
	    !(of_statement && written.IsOfCatalog(type.GetTypeName(), type.GetQueryLocation()))) {
		return TypeExpression::FromLogicalType(WithoutUserTypes(entry->Cast<TypeCatalogEntry>().user_type));
	}
	if (of_statement && !beside && (!entry || !entry->internal)) {
		searched.Check(name, type.GetQueryLocation(), CatalogType::TYPE_ENTRY);
		searched.CheckReach(name, type.GetQueryLocation(), CatalogType::TYPE_ENTRY);
	}
	// LIST, STRUCT and the like have types as their children.
	unique_ptr<TypeExpression> result;
	for (idx_t i = 0; i < type.GetChildren().size(); i++) {
		auto &child = *type.GetChildren()[i];
		if (child.GetExpressionClass() != ExpressionClass::TYPE) {
			continue;
		}
		auto defined = Define(child.Cast<TypeExpression>(), beside, of_statement);
		if (!defined) {
			continue;
		}
		if (!result) {
			result = unique_ptr_cast<ParsedExpression, TypeExpression>(type.Copy());
		}
		defined->SetAlias(child.GetAlias());
		result->GetChildren()[i] = std::move(defined);
	}
	return result;
}

bool TypeNames::IsTypeThere(const QualifiedName &type) {
	if (type.Path().size() > 2) {
		return false;
	}
	auto schema = type.Path().size() == 1 ? searched.SubjectSchema() : type.Path()[0];
	QualifiedName there(catalog.GetName(), schema, type.Name());
	EntryLookupInfo lookup(CatalogType::TYPE_ENTRY, there);
	return static_cast<bool>(Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL));
}

void TypeNames::Define(LogicalType &type, bool beside) {
	if (type.id() != LogicalTypeId::UNBOUND) {
		type = WithoutUserTypes(type);
		return;
	}
	auto &expression = UnboundType::GetTypeExpression(type);
	if (expression->GetExpressionClass() != ExpressionClass::TYPE) {
		return;
	}
	auto defined = Define(expression->Cast<TypeExpression>(), beside);
	if (defined) {
		type = LogicalType::UNBOUND(std::move(defined));
	}
}

} // namespace duckherder
