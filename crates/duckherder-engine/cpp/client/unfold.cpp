#include "unfold.hpp"

#include "connection_state.hpp"
#include "query_of.hpp"

#include "duckdb/main/client_data.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/execute_statement.hpp"
#include "duckdb/parser/statement/prepare_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"

#include <map>

using namespace duckdb; // NOLINT

namespace duckherder {

using Location = std::pair<uint32_t, uint32_t>;

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

class FoldFinder {
public:
	bool found = false;

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
		default:
			ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) { IsConstant(*part); });
			return false;
		}
		auto constant = false, only_constants = true;
		ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) {
			constant = IsConstant(*part) || constant;
			only_constants = only_constants && constant;
		});
		found = found || (constant && only_constants && expression.GetExpressionClass() != ExpressionClass::TYPE);
		return only_constants;
	}
};

class Unfolder {
public:
	explicit Unfolder(QueryNode &written) {
		ForEach(written, [&](unique_ptr<ParsedExpression> &expression) { Remember(*expression); });
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
			// The largest of those at a place.
			written.emplace(LocationOf(expression), expression);
		}
		ForEachPart(expression, [&](unique_ptr<ParsedExpression> &part) { Remember(*part); });
	}

	void Unfold(unique_ptr<ParsedExpression> &expression) {
		if (expression->GetExpressionClass() != ExpressionClass::CONSTANT) {
			ForEachPart(*expression, [&](unique_ptr<ParsedExpression> &part) { Unfold(part); });
			return;
		}
		auto found = written.find(LocationOf(*expression));
		// A value has the name that its expression would have had.
		if (found == written.end() || expression->GetAlias().empty() || NameOf(found->second) != expression->GetAlias()) {
			return;
		}
		expression = found->second.get().Copy();
	}

	static Identifier NameOf(const ParsedExpression &expression) {
		return expression.GetAlias().empty() ? Identifier(expression.ToString()) : expression.GetAlias();
	}

	std::map<Location, reference<ParsedExpression>> written;
};

//! Whether a constant has a name, as all that DuckDB folds.
static bool HasNamedConstants(QueryNode &node) {
	auto found = false;
	std::function<void(unique_ptr<ParsedExpression> &)> look = [&](unique_ptr<ParsedExpression> &expression) {
		found = found || (expression->GetExpressionClass() == ExpressionClass::CONSTANT && !expression->GetAlias().empty());
		if (!found) {
			ForEachPart(*expression, look);
		}
	};
	ForEach(node, look);
	return found;
}

unique_ptr<SQLStatement> ParseWritten(ClientContext &context, const string &sql) {
	if (sql.empty()) {
		return nullptr;
	}
	Parser parser(context);
	parser.ParseQuery(sql);
	if (parser.statements.size() != 1) {
		return nullptr;
	}
	auto &statement = parser.statements[0];
	if (statement->type == StatementType::PREPARE_STATEMENT) {
		return std::move(statement->Cast<PrepareStatement>().statement);
	}
	if (statement->type == StatementType::EXECUTE_STATEMENT) {
		auto &prepared = ClientData::Get(context).prepared_statements;
		auto found = prepared.find(statement->Cast<ExecuteStatement>().name);
		return found == prepared.end() ? nullptr : found->second->unbound_statement->Copy();
	}
	return std::move(statement);
}

bool MayBeFolded(QueryNode &written) {
	FoldFinder finder;
	ForEach(written, [&](unique_ptr<ParsedExpression> &expression) { finder.IsConstant(*expression); });
	return finder.found;
}

void Unfold(QueryNode &node, QueryNode &written) {
	Unfolder(written).Unfold(node);
}

void UnfoldPart(ClientContext &context, QueryNode &node) {
	if (!HasNamedConstants(node)) {
		return;
	}
	auto statement = ParseWritten(context, ConnectionState::Get(context)->BoundText(context));
	auto written = statement ? QueryOf(*statement) : nullptr;
	if (written) {
		Unfold(node, *written);
	}
}

} // namespace duckherder
