#include "own_functions.hpp"

#include "catalog.hpp"
#include "query_function.hpp"

#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_function_catalog_entry.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/execution/expression_executor_state.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_data/create_scalar_function_info.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/tableref/emptytableref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! SELECT function('sequence'), without the alias that the driver does not know.
static string SequenceQuery(RemoteCatalog &catalog, const string &function, const string &sequence) {
	auto name = QualifiedName::Parse(sequence);
	if (name.Catalog() == catalog.GetName()) {
		name.StripCatalog();
	} else if (name.Catalog().empty() && name.Schema() == catalog.GetName()) {
		name = QualifiedName(name.Name());
	}
	vector<unique_ptr<ParsedExpression>> arguments;
	arguments.push_back(ConstantExpression::String(name.ToString()));
	SelectNode select;
	select.select_list.push_back(make_uniq<FunctionExpression>(Identifier(function), std::move(arguments)));
	select.from_table = make_uniq<EmptyTableRef>();
	return select.ToString();
}

//! nextval and currval of a driver's sequence: every row asks the driver.
static ScalarFunction SequenceFunction(RemoteCatalog &catalog, const string &name) {
	auto body = [&catalog, name](DataChunk &args, ExpressionState &state, Vector &result) {
		for (idx_t row = 0; row < args.size(); row++) {
			auto sequence = args.GetValue(0, row);
			if (sequence.IsNull()) {
				result.Append(Value(LogicalType::BIGINT));
				continue;
			}
			auto sql = SequenceQuery(catalog, name, StringValue::Get(sequence));
			result.Append(catalog.QueryValue(state.GetContext(), sql, LogicalType::BIGINT));
		}
	};
	ScalarFunction function(Identifier(name), {LogicalType::VARCHAR}, LogicalType::BIGINT, body);
	function.SetFallible();
	function.SetVolatile();
	function.SetNullHandling(FunctionNullHandling::SPECIAL_HANDLING);
	return function;
}

optional_ptr<CatalogEntry> OwnFunctions::Find(RemoteCatalog &catalog, SchemaCatalogEntry &schema, CatalogType type,
                                              const Identifier &name) {
	auto key = StringUtil::Lower(name.GetIdentifierName());
	auto is_sequence = type == CatalogType::SCALAR_FUNCTION_ENTRY && (key == "nextval" || key == "currval");
	auto is_query = type == CatalogType::TABLE_FUNCTION_ENTRY && key == QUERY_FUNCTION;
	if (!is_sequence && !is_query) {
		return nullptr;
	}
	std::lock_guard<std::mutex> guard(lock);
	auto &entry = entries[key];
	if (!entry && is_query) {
		CreateTableFunctionInfo info(QueryFunctions());
		info.internal = true;
		entry = make_uniq<TableFunctionCatalogEntry>(catalog, schema, info);
	} else if (!entry) {
		CreateScalarFunctionInfo info(SequenceFunction(catalog, key));
		info.internal = true;
		entry = make_uniq<ScalarFunctionCatalogEntry>(catalog, schema, info);
	}
	return entry.get();
}

} // namespace duckherder
