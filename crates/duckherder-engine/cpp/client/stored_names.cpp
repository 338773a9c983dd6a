#include "rewriter.hpp"

#include "database_renamer.hpp"

#include "duckdb/optimizer/remote_pushdown_optimizer.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/select_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

bool StatementRewriter::StripCatalog(QualifiedName &name, CatalogType type) {
	auto &path = name.Path();
	if (!is_stored || path.size() < 2 || path[0] != catalog.GetName()) {
		return false;
	}
	if (path.size() == 2 && Catalog::GetSchema(context, catalog.GetName(), path[0], OnEntryNotFound::RETURN_NULL)) {
		// It is that schema's.
		return false;
	}
	if (path.size() > 2) {
		name = name.WithCatalog(Identifier());
		return true;
	}
	auto own = searched.InSearchedSchema(type, name.Name());
	if (of_column) {
		EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY,
		                       QualifiedName(catalog.GetName(), Identifier(), own.Name()));
		if (auto found = searched.BesideTable().GetEntry(lookup, OnEntryNotFound::RETURN_NULL)) {
			own = QualifiedName(Identifier(), found->ParentSchema().name, own.Name());
		}
	}
	name = own;
	return true;
}

void StatementRewriter::StripCatalog(FunctionExpression &call) {
	QualifiedName described;
	if (is_stored && IsOfTable(call.FunctionName()) && !call.GetArguments().empty() &&
	    NamesByText(call.GetArguments()[0].GetExpression(), described)) {
		if (StripCatalog(described)) {
			described = described.WithCatalog(DatabaseThere());
			call.GetArgumentsMutable()[0].GetExpressionMutable() = ConstantExpression::String(described.ToString());
		} else if (catalog.IsElsewhere(context)) {
			Catalog::GetEntry(context, EntryLookupInfo(CatalogType::TABLE_ENTRY, described),
			                  OnEntryNotFound::THROW_EXCEPTION);
		}
	}
	auto is_table = call.FunctionName() == "query_table";
	if (!is_stored || (!is_table && call.FunctionName() != "query")) {
		return;
	}
	for (auto &argument : call.GetArgumentsMutable()) {
		StripCatalog(argument.GetExpressionMutable(), is_table);
	}
}

void StatementRewriter::StripCatalog(unique_ptr<ParsedExpression> &text, bool is_table) {
	if (is_table && text->GetExpressionClass() != ExpressionClass::CONSTANT) {
		auto is_list = text->GetExpressionType() == ExpressionType::ARRAY_CONSTRUCTOR ||
		               (text->GetExpressionClass() == ExpressionClass::FUNCTION &&
		                text->Cast<FunctionExpression>().FunctionName() == "list_value");
		if (is_list) {
			ParsedExpressionIterator::EnumerateChildren(
			    *text, [&](unique_ptr<ParsedExpression> &child) { StripCatalog(child, is_table); });
		}
		return;
	}
	if (text->GetExpressionClass() != ExpressionClass::CONSTANT) {
		return;
	}
	auto constant = text->Cast<ConstantExpression>().GetLiteral().ToValue();
	if (constant.type().id() == LogicalTypeId::VARCHAR && !constant.IsNull()) {
		auto &given = StringValue::Get(constant);
		text = ConstantExpression::String(is_table ? TableThere(given) : QueryThere(given));
	}
}

string StatementRewriter::TableThere(const string &given) {
	QualifiedName name;
	string error;
	if (!QualifiedName::TryParse(given, name, error) || name.Path().size() < 2) {
		return given;
	}
	StripCatalog(name);
	return name.ToString();
}

string StatementRewriter::QueryThere(const string &given) {
	vector<unique_ptr<SQLStatement>> statements;
	try {
		Parser parser(context);
		parser.ParseQuery(given);
		statements = std::move(parser.statements);
	} catch (const std::exception &) {
		return given;
	}
	if (statements.size() != 1 || statements[0]->type != StatementType::SELECT_STATEMENT) {
		return given;
	}
	auto before = statements[0]->ToString();
	auto &node = *statements[0]->Cast<SelectStatement>().node;
	auto outer_text = of_text;
	of_text = true;
	Rewrite(node);
	of_text = outer_text;
	RemotePushdownOptimizer::StripCatalogName(node, catalog.GetName());
	auto after = statements[0]->ToString();
	return before == after ? given : after;
}

} // namespace duckherder
