#include "sequences.hpp"

#include "database_renamer.hpp"
#include "transaction.hpp"

#include "duckdb/catalog/catalog_entry_retriever.hpp"
#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/execution/expression_executor_state.hpp"
#include "duckdb/function/scalar/sequence_functions.hpp"
#include "duckdb/function/scalar/sequence_utils.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! The name that a call of nextval, currval or setval gives; false if it is none, or no constant.
static bool NamesSequence(const FunctionExpression &call, QualifiedName &result) {
	if (call.GetArguments().empty()) {
		return false;
	}
	return NamesByText(call.GetArguments()[0].GetExpression(), result);
}

static bool IsSequenceCall(const ParsedExpression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::FUNCTION) {
		return false;
	}
	auto name = expression.Cast<FunctionExpression>().FunctionName();
	return name == Identifier("nextval") || name == Identifier("currval") || name == Identifier("setval");
}

bool MayConcernOtherSequence(const ParsedExpression &expression, RemoteCatalog &catalog) {
	if (!IsSequenceCall(expression)) {
		return false;
	}
	QualifiedName name;
	if (!NamesSequence(expression.Cast<FunctionExpression>(), name)) {
		return true;
	}
	auto first = name.Catalog().empty() ? name.Schema() : name.Catalog();
	return first != catalog.GetName() && (name.Path().size() > 2 || !catalog.MayMeanSequence(name.Name()));
}

//! A sequence of a driver, kept alive.
struct RemoteSequence : public NextvalBindData {
	explicit RemoteSequence(SequenceCatalogEntry &sequence)
	    : NextvalBindData(sequence), snapshot(sequence.schema.Cast<RemoteSchema>().GetSnapshot().shared_from_this()) {
	}
	unique_ptr<FunctionData> Copy() const override {
		return make_uniq<RemoteSequence>(sequence);
	}
	QualifiedName RemoteName() const {
		return QualifiedName(Identifier(), sequence.schema.name, sequence.name);
	}
	RemoteCatalog &GetCatalog() const {
		return sequence.ParentCatalog().Cast<RemoteCatalog>();
	}

	shared_ptr<Snapshot> snapshot;
};

//! SELECT function('sequence', arguments...) FROM range(rows).
static string SequenceQuery(const Identifier &function, const RemoteSequence &sequence, const vector<Value> &arguments,
                            idx_t rows) {
	vector<unique_ptr<ParsedExpression>> values;
	values.push_back(ConstantExpression::String(sequence.RemoteName().ToString()));
	for (auto &argument : arguments) {
		values.push_back(ConstantExpression::FromValue(argument));
	}
	vector<unique_ptr<ParsedExpression>> count;
	count.push_back(ConstantExpression::FromValue(Value::BIGINT(NumericCast<int64_t>(rows))));
	auto range = make_uniq<TableFunctionRef>();
	range->function = make_uniq<FunctionExpression>(Identifier("range"), std::move(count));
	SelectNode select;
	select.select_list.push_back(make_uniq<FunctionExpression>(function, std::move(values)));
	select.from_table = std::move(range);
	return select.ToString();
}

//! The driver's values, as many as there are rows; those of setval, which takes others each time, one by one.
static void AskDriver(DataChunk &args, ExpressionState &state, Vector &result) {
	auto &call = state.expr.Cast<BoundFunctionExpression>();
	auto &sequence = call.BindInfo()->Cast<RemoteSequence>();
	auto &catalog = sequence.GetCatalog();
	auto &context = state.GetContext();
	auto name = call.Function().GetName();
	vector<vector<Value>> rows;
	if (args.ColumnCount() == 1) {
		rows = catalog.QueryRows(context, SequenceQuery(name, sequence, {}, args.size()), {LogicalType::BIGINT});
	} else {
		for (idx_t row = 0; row < args.size(); row++) {
			vector<Value> arguments;
			for (idx_t column = 1; column < args.ColumnCount(); column++) {
				arguments.push_back(args.GetValue(column, row));
			}
			auto sql = SequenceQuery(name, sequence, arguments, 1);
			auto value = catalog.QueryRows(context, sql, {LogicalType::BIGINT});
			rows.insert(rows.end(), value.begin(), value.end());
		}
	}
	if (rows.size() != args.size()) {
		throw IOException("the driver gave %d values of a sequence, not %d", rows.size(), args.size());
	}
	for (auto &row : rows) {
		result.Append(row[0]);
	}
}

//! Binds as DuckDB does; only what is done at the end differs for a driver's sequence.
static unique_ptr<FunctionData> Bind(BindScalarFunctionInput &input) {
	static const auto bind_locally = NextvalFun::GetFunction().GetBindCallback();
	auto data = bind_locally(input);
	if (!data) {
		return data;
	}
	auto &sequence = data->Cast<NextvalBindData>().sequence;
	auto catalog = dynamic_cast<RemoteCatalog *>(&sequence.ParentCatalog());
	if (!catalog) {
		return data;
	}
	auto &context = input.GetClientContext();
	RemoteTransaction::Get(context, *catalog).AddOperation(context);
	auto &function = input.GetBoundFunction();
	function.SetFunctionCallback(AskDriver);
	function.SetInitStateCallback(nullptr);
	return make_uniq<RemoteSequence>(sequence);
}

//! An overload with the arguments of a known one takes its place.
static void Replace(ExtensionLoader &loader, const char *name, const vector<ScalarFunction> &functions) {
	ScalarFunctionSet set {Identifier(name)};
	for (auto &known : functions) {
		auto function = known;
		function.name = Identifier(name);
		function.SetBindCallback(Bind);
		set.AddFunction(std::move(function));
	}
	loader.RegisterFunction(std::move(set));
}

void RegisterSequenceFunctions(ExtensionLoader &loader) {
	Replace(loader, "nextval", {NextvalFun::GetFunction()});
	Replace(loader, "currval", {CurrvalFun::GetFunction()});
	vector<ScalarFunction> setval;
	for (auto &function : SetvalFun::GetFunctions().functions) {
		setval.push_back(*function);
	}
	Replace(loader, "setval", setval);
}

//! Whether the driver's database has that sequence, in a schema where names without one are looked up.
static bool IsThere(CatalogEntryRetriever &retriever, RemoteCatalog &catalog, const Identifier &name) {
	auto &paths = *ClientData::Get(retriever.GetContext()).catalog_search_path;
	for (auto &schema : {paths.GetDefaultSchema(catalog.GetName()), Identifier::DefaultSchema()}) {
		EntryLookupInfo lookup(CatalogType::SEQUENCE_ENTRY, QualifiedName(catalog.GetName(), schema, name));
		if (retriever.GetEntry(lookup, OnEntryNotFound::RETURN_NULL)) {
			return true;
		}
	}
	return false;
}

void NameSequenceForDriver(CatalogEntryRetriever retriever, RemoteCatalog &catalog, FunctionExpression &call,
                           bool is_stored, bool of_column) {
	QualifiedName name;
	if (!IsSequenceCall(call) || !NamesSequence(call, name)) {
		return;
	}
	if (of_column && name.Path().size() == 1 && IsThere(retriever, catalog, name.Name())) {
		return;
	}
	auto bound = Binder::BindTableName(retriever, name);
	// What is stored may name what is found beside it.
	auto if_not_found = is_stored ? OnEntryNotFound::RETURN_NULL : OnEntryNotFound::THROW_EXCEPTION;
	auto entry = retriever.GetEntry(EntryLookupInfo(CatalogType::SEQUENCE_ENTRY, bound), if_not_found);
	if (entry && &entry->ParentCatalog() != &catalog) {
		if (!is_stored) {
			catalog.MeantOtherSequence(retriever.GetContext(), entry->name);
		}
		throw NotImplementedException("sequence %s is not one of \"%s\", which this statement is for",
		                              name.ToString(), catalog.GetName().GetIdentifierName());
	}
	if (entry && of_column && name.Path().size() == 1) {
		return;
	}
	if (entry) {
		name = QualifiedName(Identifier(), entry->ParentSchema().name, entry->name);
	} else if (bound.Catalog() == catalog.GetName()) {
		// The driver says that there is none.
		bound.StripCatalog();
		name = bound;
	}
	call.GetArgumentsMutable()[0].GetExpressionMutable() = ConstantExpression::String(name.ToString());
}

} // namespace duckherder
