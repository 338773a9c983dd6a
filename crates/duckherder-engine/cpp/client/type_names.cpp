#include "type_names.hpp"

#include "duckdb/catalog/catalog_entry/type_catalog_entry.hpp"
#include "wire_type.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

unique_ptr<TypeExpression> TypeNames::Define(const TypeExpression &type, bool of_column) {
	auto &name = type.GetQualifiedName();
	auto in_schema = name.Catalog() == catalog.GetName();
	if (in_schema || (name.Catalog().empty() && name.Schema() == catalog.GetName())) {
		auto result = unique_ptr_cast<ParsedExpression, TypeExpression>(type.Copy());
		result->SetQualifiedName(in_schema ? name.WithCatalog(Identifier()) : QualifiedName(name.Name()));
		return result;
	}
	auto entry = Catalog::GetEntry(context, EntryLookupInfo(CatalogType::TYPE_ENTRY, type.GetQualifiedName()),
	                               OnEntryNotFound::RETURN_NULL);
	if (entry && !entry->internal && &entry->ParentCatalog() != &catalog) {
		if (of_column && name.Path().size() == 1 && IsTypeThere(name.Name())) {
			return nullptr;
		}
		return TypeExpression::FromLogicalType(WithoutUserTypes(entry->Cast<TypeCatalogEntry>().user_type));
	}
	// LIST, STRUCT and the like have types as their children.
	unique_ptr<TypeExpression> result;
	for (idx_t i = 0; i < type.GetChildren().size(); i++) {
		auto &child = *type.GetChildren()[i];
		if (child.GetExpressionClass() != ExpressionClass::TYPE) {
			continue;
		}
		auto defined = Define(child.Cast<TypeExpression>(), of_column);
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

bool TypeNames::IsTypeThere(const Identifier &type) {
	QualifiedName there(catalog.GetName(), catalog.InDefaultSchema(context, type).Schema(), type);
	EntryLookupInfo lookup(CatalogType::TYPE_ENTRY, there);
	return static_cast<bool>(Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL));
}

void TypeNames::Define(LogicalType &type) {
	if (type.id() != LogicalTypeId::UNBOUND) {
		type = WithoutUserTypes(type);
		return;
	}
	auto &expression = UnboundType::GetTypeExpression(type);
	if (expression->GetExpressionClass() != ExpressionClass::TYPE) {
		return;
	}
	auto defined = Define(expression->Cast<TypeExpression>(), true);
	if (defined) {
		type = LogicalType::UNBOUND(std::move(defined));
	}
}

} // namespace duckherder
