#include "named_places.hpp"

#include "connection_state.hpp"
#include "parts_of.hpp"
#include "query_of.hpp"
#include "unfold.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/expression/window_expression.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

#include <algorithm>
#include <set>
#include <tuple>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Places of a part and of a text that are compared one by one, at most.
static constexpr idx_t MOST_PAIRS = 10'000'000;

bool IsWord(const Identifier &name) {
	auto &text = name.GetIdentifierName();
	return std::all_of(text.begin(), text.end(),
	                   [](char c) { return StringUtil::CharacterIsAlphaNumeric(c) || c == '_'; });
}

class PlaceFinder {
public:
	NamedPlaces found;
	//! What functions are called by, wherever.
	vector<QualifiedName> calls;

	void Find(QueryNode &node) {
		if (node.type == QueryNodeType::DELETE_QUERY_NODE && TargetOf(node)) {
			Note(*TargetOf(node), node.Cast<DeleteQueryNode>().table->query_location);
		}
		auto visit = [&](unique_ptr<ParsedExpression> &expression) { Find(*expression); };
		ParsedExpressionIterator::EnumerateQueryNodeChildren(node, visit, [&](TableRef &ref) {
			if (ref.type == TableReferenceType::BASE_TABLE) {
				Note(ref.Cast<BaseTableRef>().GetQualifiedName(), ref.query_location);
			} else if (ref.type == TableReferenceType::TABLE_FUNCTION) {
				auto &function = *ref.Cast<TableFunctionRef>().function;
				if (function.GetExpressionClass() == ExpressionClass::FUNCTION) {
					Note(function.Cast<FunctionExpression>().GetQualifiedName(), ref.query_location);
				}
			}
		});
	}

	void Find(SQLStatement &statement) {
		if (auto query = QueryOf(statement)) {
			Find(*query);
		} else if (statement.type == StatementType::CREATE_STATEMENT) {
			Find(*statement.Cast<CreateStatement>().info);
		}
		auto of_macro = statement.type == StatementType::CREATE_STATEMENT &&
		                statement.Cast<CreateStatement>().info->type != CatalogType::TABLE_ENTRY;
		if (!of_macro) {
			ForEachPartOf(statement, [&](ParsedExpression &part) { Find(part); }, [](QueryNode &) {});
		}
	}

private:
	void Note(const QualifiedName &name, const QueryLocation &location) {
		if (location.IsValid()) {
			found.emplace_back(Location(location.offset, location.length), name);
		}
	}

	void Find(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Find(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			calls.push_back(expression.Cast<FunctionExpression>().GetQualifiedName());
			Note(calls.back(), expression.GetQueryLocation());
		} else if (expression.GetExpressionClass() == ExpressionClass::WINDOW) {
			calls.push_back(expression.Cast<WindowExpression>().GetQualifiedName());
			Note(calls.back(), expression.GetQueryLocation());
		} else if (expression.GetExpressionClass() == ExpressionClass::CAST) {
			Find(expression.Cast<CastExpression>().TargetTypeMutable());
		} else if (expression.GetExpressionClass() == ExpressionClass::TYPE) {
			Note(expression.Cast<TypeExpression>().GetQualifiedName(), expression.GetQueryLocation());
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &part) { Find(*part); });
	}

	void Find(CreateInfo &info) {
		if (info.type == CatalogType::TABLE_MACRO_ENTRY) {
			for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
				Find(*macro->Cast<TableMacroFunction>().query_node);
				FindDefaults(*macro);
			}
		} else if (info.type == CatalogType::MACRO_ENTRY) {
			for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
				Find(*macro->Cast<ScalarMacroFunction>().expression);
				FindDefaults(*macro);
			}
		} else if (info.type == CatalogType::TYPE_ENTRY) {
			auto &values = info.Cast<CreateTypeInfo>().query;
			if (values && QueryOf(*values)) {
				Find(*QueryOf(*values));
			}
		} else if (info.type == CatalogType::INDEX_ENTRY) {
			for (auto &expression : info.Cast<CreateIndexInfo>().parsed_expressions) {
				Find(*expression);
			}
		}
	}

	void FindDefaults(MacroFunction &macro) {
		for (auto &parameter : macro.default_parameters) {
			Find(*parameter.second);
		}
	}
};

NamedPlaces PlacesIn(QueryNode &node) {
	PlaceFinder finder;
	finder.Find(node);
	return std::move(finder.found);
}

NamedPlaces PlacesIn(SQLStatement &statement) {
	PlaceFinder finder;
	finder.Find(statement);
	return std::move(finder.found);
}

NamedPlaces WrittenPlaces(ClientContext &context) {
	PlaceFinder finder;
	// Each place is one statement's.
	auto statements = ParseAllWritten(context, ConnectionState::Get(context)->BoundText(context));
	for (auto &statement : *statements) {
		finder.Find(*statement);
	}
	return std::move(finder.found);
}

vector<QualifiedName> WrittenSubjects(ClientContext &context) {
	vector<QualifiedName> result;
	auto statements = ParseAllWritten(context, ConnectionState::Get(context)->BoundText(context));
	for (auto &statement : *statements) {
		auto query = QueryOf(*statement);
		if (auto target = query ? TargetOf(*query) : nullptr) {
			result.push_back(*target);
		}
		if (auto subject = SubjectOf(*statement)) {
			result.push_back(*subject);
		}
	}
	return result;
}

optional<uint32_t> ShiftOf(const NamedPlaces &part, const NamedPlaces &written) {
	using Place = std::tuple<uint32_t, string, uint32_t>;
	auto distinct = [](const NamedPlaces &places) {
		std::set<Place> result;
		for (auto &place : places) {
			auto name = StringUtil::Lower(place.second.Name().GetIdentifierName());
			result.emplace(place.first.second, std::move(name), place.first.first);
		}
		return result;
	};
	auto here = distinct(part), there = distinct(written);
	if (std::includes(there.begin(), there.end(), here.begin(), here.end())) {
		return 0;
	}
	if (there.empty() || here.size() > MOST_PAIRS / there.size()) {
		return {};
	}
	// Not all of them need be written there: DuckDB puts values in the place of expressions.
	std::map<uint32_t, idx_t> matches {{0, 0}};
	for (auto &[length, name, begin] : here) {
		for (auto other = there.lower_bound({length, name, 0}); other != there.end(); other++) {
			auto &[other_length, other_name, other_begin] = *other;
			if (other_length != length || other_name != name || other_begin > begin) {
				break;
			}
			matches[begin - other_begin]++;
		}
	}
	auto fewer = [](const auto &a, const auto &b) { return a.second < b.second; };
	auto best = std::max_element(matches.begin(), matches.end(), fewer);
	auto as_many = std::count_if(matches.begin(), matches.end(),
	                             [&](const auto &shift) { return shift.second == best->second; });
	return as_many == 1 && best->second > 0 ? optional<uint32_t>(best->first) : optional<uint32_t>();
}

optional<bool> AreCalls(ClientContext &context, const Identifier &function,
                        const std::function<bool(const QualifiedName &)> &such) {
	PlaceFinder finder;
	auto statements = ParseAllWritten(context, ConnectionState::Get(context)->BoundText(context));
	for (auto &statement : *statements) {
		finder.Find(*statement);
	}
	auto some = false, others = false;
	for (auto &call : finder.calls) {
		auto is_it = call.Name() == function;
		some = some || (is_it && such(call));
		others = others || (is_it && !such(call));
	}
	return some && others ? optional<bool>() : optional<bool>(some);
}

} // namespace duckherder
