#include "unfold.hpp"

#include "column_filling.hpp"
#include "connection_state.hpp"
#include "named_places.hpp"
#include "query_of.hpp"
#include "spelling.hpp"
#include "session_of_client.hpp"

#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/execution/expression_executor.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression_binder/constant_binder.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/statement/execute_statement.hpp"
#include "duckdb/parser/statement/prepare_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

#include <algorithm>
#include <map>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Tells a variable of the session, which drivers have, too.
static const char *const VARIABLE = "getvariable";

static Location LocationOf(const ParsedExpression &expression) {
	auto location = expression.GetQueryLocation();
	return {location.offset, location.length};
}

//! Calls `visit` with each expression of a query that is in no other one, subqueries' included.
static void ForEach(QueryNode &node, const std::function<void(unique_ptr<ParsedExpression> &)> &visit) {
	ParsedExpressionIterator::EnumerateQueryNodeChildren(node, visit);
}

//! Calls `visit` with the expressions that one consists of.
static void ForEachPart(ParsedExpression &expression,
                        const std::function<void(unique_ptr<ParsedExpression> &)> &visit) {
	if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
		ForEach(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node, visit);
	}
	ParsedExpressionIterator::EnumerateChildren(expression, visit);
}

//! Types that a value keeps if it is written as a literal of them.
static const case_insensitive_map_t<LogicalType> &KeptTypes() {
	static const case_insensitive_map_t<LogicalType> KEPT {{"DATE", LogicalType::DATE},
	                                                       {"TIME", LogicalType::TIME},
	                                                       {"TIMESTAMP", LogicalType::TIMESTAMP},
	                                                       {"INTERVAL", LogicalType::INTERVAL},
	                                                       {"UUID", LogicalType::UUID}};
	return KEPT;
}

//! Whether it is a literal of a type that its value keeps, and its text, too: DATE '2020-01-01', but not DATE '2020-1-1',
//! whose value is written otherwise in the names of what it is in.
static bool IsTypedLiteral(const ParsedExpression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::CAST) {
		return false;
	}
	auto &cast = expression.Cast<CastExpression>();
	auto kept = KeptTypes().find(cast.TargetType().GetTypeName().GetIdentifierName());
	if (kept == KeptTypes().end() || cast.IsTryCast() || cast.Child().GetExpressionClass() != ExpressionClass::CONSTANT) {
		return false;
	}
	auto written = cast.Child().Cast<ConstantExpression>().GetLiteral().ToValue();
	if (written.IsNull() || written.type().id() != LogicalTypeId::VARCHAR) {
		return false;
	}
	auto value = written.DefaultTryCastAs(kept->second);
	return value && value->ToString() == StringValue::Get(written);
}

optional_ptr<CatalogEntry> FunctionOf(ClientContext &context, const ParsedExpression &call) {
	EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY, call.Cast<FunctionExpression>().GetQualifiedName());
	return Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL);
}

bool IsDuckDBs(const CatalogEntry &function) {
	// What a program registers (Python's create_function) is internal, too, but comes by a transaction.
	return function.internal && function.timestamp == SYSTEM_TRANSACTION_TIMESTAMP;
}

bool HasStability(const CatalogEntry &entry, FunctionStability stability) {
	auto &overloads = entry.Cast<ScalarFunctionCatalogEntry>().functions.functions;
	return std::all_of(overloads.begin(), overloads.end(),
	                   [&](const auto &overload) { return overload->GetStability() == stability; });
}

class FoldFinder {
public:
	explicit FoldFinder(ClientContext &context) : context(context) {
	}

	bool found = false;
	//! Binding the query once more would do something twice: a table function's arguments are evaluated then.
	bool acts = false;

	void Look(QueryNode &node) {
		unordered_set<const ParsedExpression *> table_functions;
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [](unique_ptr<ParsedExpression> &) {},
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::TABLE_FUNCTION) {
				    table_functions.insert(ref.Cast<TableFunctionRef>().function.get());
			    }
		    });
		ForEach(node, [&](unique_ptr<ParsedExpression> &expression) {
			if (table_functions.count(expression.get()) == 0) {
				IsConstant(*expression);
			} else {
				// Of it, only the arguments are.
				ForEachPart(*expression, [&](unique_ptr<ParsedExpression> &part) {
					IsConstant(*part);
					acts = acts || IsVolatile(*part);
				});
			}
		});
	}

private:
	bool IsVolatile(ParsedExpression &expression) {
		auto entry = expression.GetExpressionClass() == ExpressionClass::FUNCTION ? FunctionOf(context, expression) : nullptr;
		auto result = entry && entry->type == CatalogType::SCALAR_FUNCTION_ENTRY &&
		              HasStability(*entry, FunctionStability::VOLATILE);
		ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) { result = result || IsVolatile(*part); });
		return result;
	}

	//! Whether DuckDB may evaluate a call whose arguments are constants.
	bool IsFoldable(const ParsedExpression &expression) {
		if (expression.GetExpressionClass() != ExpressionClass::FUNCTION) {
			return true;
		}
		auto entry = FunctionOf(context, expression);
		return entry && (entry->type == CatalogType::MACRO_ENTRY ||
		                 (entry->type == CatalogType::SCALAR_FUNCTION_ENTRY &&
		                  !HasStability(*entry, FunctionStability::VOLATILE)));
	}

	//! Whether the expression has nothing but constants in it.
	bool IsConstant(ParsedExpression &expression) {
		switch (expression.GetExpressionClass()) {
		case ExpressionClass::CONSTANT:
			return true;
		case ExpressionClass::CAST:
		case ExpressionClass::FUNCTION:
		case ExpressionClass::COMPARISON:
		case ExpressionClass::BETWEEN:
		case ExpressionClass::CONJUNCTION:
		case ExpressionClass::OPERATOR:
		case ExpressionClass::CASE:
		case ExpressionClass::TYPE:
			break;
		case ExpressionClass::SUBQUERY:
			Look(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
			return false;
		default:
			ParsedExpressionIterator::EnumerateChildren(
			    expression, [&](unique_ptr<ParsedExpression> &part) { IsConstant(*part); });
			return false;
		}
		auto some = false, all = true;
		ParsedExpressionIterator::EnumerateChildren(expression, [&](unique_ptr<ParsedExpression> &part) {
			auto constant = IsConstant(*part);
			some = some || constant;
			all = all && constant;
		});
		all = all && IsFoldable(expression);
		found = found || (some && all && expression.GetExpressionClass() != ExpressionClass::TYPE &&
		                  !IsTypedLiteral(expression));
		return all;
	}

	ClientContext &context;
};

//! Whether DuckDB may have put it there for an expression: a constant, or how it writes a list, a STRUCT or a MAP.
static bool MayBeValue(const ParsedExpression &expression) {
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::CONSTANT:
		return true;
	case ExpressionClass::FUNCTION:
		// As nobody calls a function that has no need to.
		return expression.Cast<FunctionExpression>().GetQualifiedName().Path().size() == 3;
	case ExpressionClass::CAST:
		return MayBeValue(expression.Cast<CastExpression>().Child());
	default:
		return false;
	}
}

class Unfolder {
public:
	//! `shift`: see ShiftOf.
	Unfolder(ClientContext &context, bool for_driver, uint32_t shift)
	    : context(context), for_driver(for_driver), shift(shift) {
	}

	//! What the statement was before, or a part of it.
	void Remember(QueryNode &node) {
		ForEach(node, [&](unique_ptr<ParsedExpression> &expression) { Remember(*expression); });
	}

	//! What `value` was before, an operation of two literals.
	void Remember(const ParsedExpression &value, ParsedExpression &original) {
		ForEachPart(original, [&](unique_ptr<ParsedExpression> &part) { part->SetQueryLocation(QueryLocation()); });
		auto [offset, length] = LocationOf(value);
		original.SetQueryLocation(QueryLocation(offset - shift, length));
		written.emplace(Location(offset - shift, length), original);
	}

	void Unfold(QueryNode &node) {
		ForEach(node, [&](unique_ptr<ParsedExpression> &expression) { Unfold(expression); });
	}

private:
	void Remember(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::CONSTANT) {
			return;
		}
		if (expression.GetQueryLocation().IsValid()) {
			written.emplace(LocationOf(expression), expression);
		}
		ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) { Remember(*part); });
	}

	void Unfold(unique_ptr<ParsedExpression> &expression) {
		if (!MayBeValue(*expression) || !UnfoldValue(expression)) {
			ForEachPart(*expression, [&](unique_ptr<ParsedExpression> &part) { Unfold(part); });
		}
	}

	bool UnfoldValue(unique_ptr<ParsedExpression> &value) {
		if (value->GetAlias().empty()) {
			return false;
		}
		auto [offset, length] = LocationOf(*value);
		if (offset < shift) {
			return false;
		}
		auto [begin, end] = written.equal_range({offset - shift, length});
		// A value has the name that its expression would have had.
		auto found = std::find_if(begin, end, [&](auto &entry) { return NameOf(entry.second) == value->GetAlias(); });
		if (found == end) {
			return false;
		}
		auto original = found->second.get().Copy();
		MoveOn(*original);
		if (!for_driver || IsKnownToAll(*original)) {
			value = std::move(original);
		}
		return true;
	}

	//! To its places in what the part is of, as all others are.
	void MoveOn(ParsedExpression &expression) {
		auto location = expression.GetQueryLocation();
		if (location.IsValid()) {
			expression.SetQueryLocation(QueryLocation(location.offset + shift, location.length));
		}
		if (expression.GetExpressionClass() == ExpressionClass::CAST) {
			MoveOn(expression.Cast<CastExpression>().TargetTypeMutable());
		}
		ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) { MoveOn(*part); });
	}

	//! Whether a driver has the same value for it: nothing in it is of this session, or was made in the client.
	bool IsKnownToAll(ParsedExpression &expression) {
		auto known = true;
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			auto entry = FunctionOf(context, expression);
			known = entry && IsDuckDBs(*entry) && entry->type == CatalogType::SCALAR_FUNCTION_ENTRY &&
			        (HasStability(*entry, FunctionStability::CONSISTENT) ||
			         (entry->name == VARIABLE && AreVariablesSent(context)));
		} else if (expression.GetExpressionClass() == ExpressionClass::TYPE) {
			EntryLookupInfo lookup(CatalogType::TYPE_ENTRY, expression.Cast<TypeExpression>().GetQualifiedName());
			auto entry = Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL);
			known = entry && entry->internal;
		} else if (expression.GetExpressionClass() == ExpressionClass::CAST) {
			known = IsKnownToAll(expression.Cast<CastExpression>().TargetTypeMutable());
		}
		ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) { known = known && IsKnownToAll(*part); });
		return known;
	}

	static Identifier NameOf(const ParsedExpression &expression) {
		return expression.GetAlias().empty() ? Identifier(expression.ToString()) : expression.GetAlias();
	}

	ClientContext &context;
	const bool for_driver;
	const uint32_t shift;
	//! Those at one place from the largest on.
	std::multimap<Location, reference<ParsedExpression>> written;
};

static string WithoutName(const ParsedExpression &value) {
	auto unnamed = value.Copy();
	unnamed->ClearAlias();
	return unnamed->ToString();
}

//! Whether the value is written as what it is the value of, as DATE '2020-01-01' is: the driver gets the same text.
static bool IsWrittenAlike(const ParsedExpression &value) {
	return value.GetAlias() == Identifier(WithoutName(value));
}

//! Those that have names, as all that DuckDB folds, but for what is written as the driver gets it.
static vector<reference<ParsedExpression>> NamedConstants(QueryNode &node) {
	vector<reference<ParsedExpression>> found;
	std::function<void(unique_ptr<ParsedExpression> &)> look = [&](unique_ptr<ParsedExpression> &expression) {
		if (MayBeValue(*expression) && !expression->GetAlias().empty() && !IsWrittenAlike(*expression)) {
			found.push_back(*expression);
		}
		ForEachPart(*expression, look);
	};
	ForEach(node, look);
	return found;
}

//! What a PREPARE or EXECUTE is of; any other statement itself.
static unique_ptr<SQLStatement> Bound(ClientContext &context, unique_ptr<SQLStatement> statement) {
	if (statement->type == StatementType::PREPARE_STATEMENT) {
		return std::move(statement->Cast<PrepareStatement>().statement);
	}
	if (statement->type == StatementType::EXECUTE_STATEMENT) {
		auto &prepared = ClientData::Get(context).prepared_statements;
		auto found = prepared.find(statement->Cast<ExecuteStatement>().name);
		return found == prepared.end() ? nullptr : found->second->unbound_statement->Copy();
	}
	return statement;
}

shared_ptr<const vector<unique_ptr<SQLStatement>>> ParseAllWritten(ClientContext &context, const string &sql) {
	auto state = ConnectionState::Get(context);
	auto known = state->FindRead(sql);
	if (known) {
		return known;
	}
	auto result = make_shared_ptr<ConnectionState::Statements>();
	if (sql.empty()) {
		return result;
	}
	Parser parser(context);
	parser.ParseQuery(sql);
	for (auto &statement : parser.statements) {
		auto bound = Bound(context, std::move(statement));
		if (bound) {
			result->push_back(std::move(bound));
		}
	}
	state->NoteRead(sql, result);
	return result;
}

unique_ptr<SQLStatement> ParseWritten(ClientContext &context, const string &sql) {
	auto statements = ParseAllWritten(context, sql);
	return statements->size() == 1 ? (*statements)[0]->Copy() : nullptr;
}

bool MayBeFolded(ClientContext &context, QueryNode &written) {
	FoldFinder finder(context);
	finder.Look(written);
	return finder.found && !finder.acts;
}

void Unfold(ClientContext &context, QueryNode &node, QueryNode &written) {
	Unfolder unfolder(context, false, 0);
	unfolder.Remember(written);
	unfolder.Unfold(node);
}

unique_ptr<ParsedExpression> ValueOf(ClientContext &context, const ParsedExpression &expression) {
	try {
		auto copy = expression.Copy();
		auto binder = Binder::CreateBinder(context);
		ConstantBinder constant(*binder, context, "DEFAULT");
		auto bound = constant.Bind(copy);
		Value value;
		if (bound && ExpressionExecutor::TryEvaluateScalar(context, *bound, value)) {
			return ConstantExpression::FromValue(value);
		}
	} catch (const std::exception &) {
		return nullptr;
	}
	return nullptr;
}

//! Without parsing the text: literals to which the user gave names are what they were, and of two literals that an
//! operator combines the value's name tells. Whether that is all.
static bool UnfoldAlone(ClientContext &context, QueryNode &node, vector<reference<ParsedExpression>> constants,
                        const string &text) {
	auto shift = ShiftInText(PlacesIn(node), text);
	if (!shift) {
		return false;
	}
	constants.erase(std::remove_if(constants.begin(), constants.end(),
	                               [&](const auto &constant) { return IsLiteralIn(text, *shift, constant.get()); }),
	                constants.end());
	if (constants.empty()) {
		return true;
	}
	auto names = StringUtil::Join(constants, constants.size(), ", ", [](const auto &constant) {
		return constant.get().GetAlias().GetIdentifierName();
	});
	vector<unique_ptr<ParsedExpression>> originals;
	try {
		originals = Parser(context).ParseExpressionList(names);
	} catch (std::exception &) {
		// The user gave a name.
	}
	if (originals.size() != constants.size()) {
		return false;
	}
	Unfolder unfolder(context, true, *shift);
	for (idx_t i = 0; i < constants.size(); i++) {
		// What the user calls like an operation may be more than that.
		auto value = ValueOf(context, *originals[i]);
		if (!IsOperationIn(text, *shift, constants[i], *originals[i]) || !value || value->ToString() != WithoutName(constants[i])) {
			return false;
		}
		unfolder.Remember(constants[i], *originals[i]);
	}
	unfolder.Unfold(node);
	return true;
}

void UnfoldPart(ClientContext &context, QueryNode &node, const Identifier &catalog) {
	auto constants = NamedConstants(node);
	if (constants.empty()) {
		return;
	}
	auto text = ConnectionState::Get(context)->BoundText(context);
	if (!FillsColumn(node) && UnfoldAlone(context, node, std::move(constants), text)) {
		return;
	}
	auto statements = ParseAllWritten(context, text);
	if (FillsColumn(node)) {
		WriteFilling(context, node.Cast<UpdateQueryNode>(), *statements, catalog);
		return;
	}
	auto shift = ShiftOf(PlacesIn(node), WrittenPlaces(context));
	for (auto &statement : *statements) {
		auto written = QueryOf(*statement);
		if (written) {
			Unfolder unfolder(context, true, shift ? *shift : 0);
			unfolder.Remember(*written);
			unfolder.Unfold(node);
		}
	}
}

} // namespace duckherder
