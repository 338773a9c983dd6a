// A function that takes the name off an aggregate's state: what is left is a value that Arrow can carry. (A cast does
// the same for some types only: DuckDB has none from a TIMESTAMP_S that is a state to TIMESTAMP_S.)
#include "fragment.hpp"

#include "duckdb/function/scalar_function.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/planner/expression.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static unique_ptr<FunctionData> BindStateValue(BindScalarFunctionInput &input) {
	auto type = input.GetArguments()[0]->GetReturnType();
	input.GetBoundFunction().GetArguments()[0] = type;
	input.GetBoundFunction().SetReturnType(WithoutState(type));
	return nullptr;
}

static void StateValue(DataChunk &input, ExpressionState &, Vector &result) {
	result.Reinterpret(input.data[0]);
}

void RegisterStateValue(ExtensionLoader &loader) {
	ScalarFunction function(STATE_VALUE_FUNCTION, {LogicalType::ANY}, LogicalType::ANY, StateValue, BindStateValue);
	function.SetNullHandling(FunctionNullHandling::SPECIAL_HANDLING);
	loader.RegisterFunction(function);
}

} // namespace duckherder
