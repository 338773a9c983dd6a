// COPY FROM DATABASE ... TO a driver. DuckDB runs it as two statements: the first creates what the database holds, which
// becomes one CREATE on the driver an entry; the second is a UNION ALL of an INSERT a table.
#include "copy_database.hpp"

#include "connection_state.hpp"
#include "entry_order.hpp"
#include "macro_tables.hpp"
#include "parts_of.hpp"
#include "query_of.hpp"
#include "statements.hpp"
#include "transaction.hpp"
#include "unfold.hpp"

#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/comment_on_column_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/copy_database_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/emptytableref.hpp"
#include "duckdb/planner/operator/logical_copy_database.hpp"
#include "duckdb/planner/operator/logical_insert.hpp"
#include "duckdb/planner/operator/logical_set_operation.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! The database that COPY FROM DATABASE names first; null if that is not what runs.
static optional_ptr<Catalog> SourceOf(ClientContext &context) {
	auto statement = ParseWritten(context, ConnectionState::Get(context)->BoundText(context));
	if (!statement || statement->type != StatementType::COPY_DATABASE_STATEMENT) {
		return nullptr;
	}
	return Catalog::GetCatalogEntry(context, statement->Cast<CopyDatabaseStatement>().from_database);
}

//! What an entry calls by the source's name is a copy, too: on the driver it is called there, which has no such source.
class CallsThere {
public:
	CallsThere(ClientContext &context, Catalog &source, const Identifier &database)
	    : context(context), source(source), database(database) {
	}

	void Name(CreateInfo &info) {
		CreateStatement statement;
		statement.info = info.Copy();
		if (auto query = QueryOf(statement)) {
			Name(*query);
		}
		ForEachPartOf(
		    statement, [&](ParsedExpression &part) { Name(part); }, [&](QueryNode &query) { Name(query); });
		if (info.type == CatalogType::INDEX_ENTRY) {
			for (auto &expression : statement.info->Cast<CreateIndexInfo>().parsed_expressions) {
				Name(*expression);
			}
		}
		renamed = std::move(statement.info);
	}

	unique_ptr<CreateInfo> renamed;

private:
	void Name(QueryNode &node) {
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &part) { Name(*part); },
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::BASE_TABLE) {
				    Name(ref.Cast<BaseTableRef>().GetQualifiedNameMutable(), {CatalogType::TABLE_ENTRY});
			    }
		    });
	}

	void Name(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			Name(expression.Cast<FunctionExpression>().GetQualifiedNameMutable(),
			     {CatalogType::SCALAR_FUNCTION_ENTRY, CatalogType::TABLE_FUNCTION_ENTRY});
		} else if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Name(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &part) { Name(*part); });
	}

	//! The first name may be a column's (`x.upper()`): only what the source has is meant.
	void Name(QualifiedName &name, const vector<CatalogType> &types) {
		auto &path = name.Path();
		if (path.size() < 2 || path.size() > 3 || path[0] != source.GetName()) {
			return;
		}
		auto schema = path.size() == 3 && !path[1].empty() ? path[1] : Identifier::DefaultSchema();
		if (Has(types, QualifiedName(source.GetName(), schema, name.Name()))) {
			// DuckDB's own would be found first.
			auto of_system = Has(types, QualifiedName(Identifier(SYSTEM_CATALOG), schema, name.Name()));
			name = QualifiedName(of_system ? database : Identifier(), schema, name.Name());
		}
	}

	bool Has(const vector<CatalogType> &types, const QualifiedName &name) {
		return std::any_of(types.begin(), types.end(), [&](CatalogType type) {
			return Catalog::GetEntry(context, EntryLookupInfo(type, name), OnEntryNotFound::RETURN_NULL);
		});
	}

	ClientContext &context;
	Catalog &source;
	const Identifier database;
};

//! What a statement's text can't say of an entry is said by further statements.
class EntryStatements {
public:
	EntryStatements(ClientContext &context, RemoteCatalog &catalog) : context(context), catalog(catalog) {
	}

	vector<string> statements;

	void Add(CreateInfo &info) {
		info.SetQualifiedName(catalog.NameThere(context, info.GetQualifiedName()));
		if (info.type == CatalogType::SEQUENCE_ENTRY) {
			AddSequence(info.Cast<CreateSequenceInfo>());
		} else if (info.type == CatalogType::VIEW_ENTRY) {
			// As in DuckDB, a view may come before what it reads.
			info.Cast<CreateViewInfo>().binding_mode = CreateViewBindingMode::SKIP_BINDING;
			AddCreate(info);
		} else {
			AddCreate(info);
		}
		AddComments(info);
	}

private:
	void AddCreate(const CreateInfo &info) {
		CreateStatement create;
		create.info = info.Copy();
		statements.push_back(create.ToString());
	}

	//! A sequence that has given its last value can't start at the next one.
	void AddSequence(const CreateSequenceInfo &info) {
		auto create = unique_ptr_cast<CreateInfo, CreateSequenceInfo>(info.Copy());
		auto next = info.start_value;
		create->start_value = std::min(std::max(next, info.min_value), info.max_value);
		AddCreate(*create);
		if (!info.last_value) {
			return;
		}
		AddSetval(info, *info.last_value, true);
		if (create->start_value == next) {
			AddSetval(info, next, false);
		}
	}

	void AddSetval(const CreateSequenceInfo &info, int64_t value, bool is_called) {
		vector<unique_ptr<ParsedExpression>> arguments;
		arguments.push_back(ConstantExpression::String(info.GetQualifiedName().ToString()));
		arguments.push_back(ConstantExpression::FromValue(Value::BIGINT(value)));
		arguments.push_back(ConstantExpression::FromValue(Value::BOOLEAN(is_called)));
		SelectNode select;
		select.select_list.push_back(make_uniq<FunctionExpression>(Identifier("setval"), std::move(arguments)));
		select.from_table = make_uniq<EmptyTableRef>();
		statements.push_back(select.ToString());
	}

	void AddComments(const CreateInfo &info) {
		auto &name = info.GetQualifiedName();
		if (!info.comment.IsNull()) {
			AddAlter(make_uniq<SetCommentInfo>(info.type, name.Catalog(), name.Schema(), name.Name(), info.comment,
			                                   OnEntryNotFound::THROW_EXCEPTION));
		}
		if (info.type == CatalogType::TABLE_ENTRY) {
			for (auto &column : info.Cast<CreateTableInfo>().columns.Logical()) {
				AddColumnComment(name, column.Name(), column.Comment());
			}
		} else if (info.type == CatalogType::VIEW_ENTRY) {
			for (auto &column : info.Cast<CreateViewInfo>().column_comments_map) {
				AddColumnComment(name, column.first, column.second);
			}
		}
	}

	void AddColumnComment(const QualifiedName &name, const Identifier &column, const Value &comment) {
		if (!comment.IsNull()) {
			AddAlter(make_uniq<SetColumnCommentInfo>(name.Catalog(), name.Schema(), name.Name(), column, comment,
			                                         OnEntryNotFound::THROW_EXCEPTION));
		}
	}

	void AddAlter(unique_ptr<AlterInfo> info) {
		AlterStatement alter;
		alter.info = std::move(info);
		statements.push_back(alter.ToString());
	}

	ClientContext &context;
	RemoteCatalog &catalog;
};

static unique_ptr<LogicalOperator> CreateThere(ClientContext &context, RemoteCatalog &catalog,
                                               LogicalCopyDatabase &copy) {
	EntryStatements all(context, catalog);
	auto entries = InOrder(std::move(copy.info->entries));
	if (auto source = SourceOf(context)) {
		CallsThere calls(context, *source, RemoteTransaction::Get(context, catalog).GetSnapshot(context)->Database());
		for (auto &info : entries) {
			calls.Name(*info);
			info = std::move(calls.renamed);
		}
	}
	// As DuckDB does: the indexes last.
	for (auto indexes : {false, true}) {
		for (auto &info : entries) {
			if ((info->type == CatalogType::INDEX_ENTRY) == indexes) {
				all.Add(*info);
			}
		}
	}
	return make_uniq<LogicalStatements>(catalog, std::move(all.statements));
}

//! DuckDB runs the INSERTs in order, so that their rows need not wait for each other here.
static void NoteInserts(ClientContext &context, LogicalOperator &plan) {
	if (plan.type != LogicalOperatorType::LOGICAL_UNION || plan.Cast<LogicalSetOperation>().allow_out_of_order) {
		return;
	}
	for (auto &child : plan.children) {
		if (child->type != LogicalOperatorType::LOGICAL_INSERT) {
			return;
		}
	}
	auto catalog = dynamic_cast<RemoteCatalog *>(&plan.children[0]->Cast<LogicalInsert>().table.ParentCatalog());
	if (catalog) {
		RemoteTransaction::Get(context, *catalog).InsertsFollowEachOther(context);
	}
}

//! A copy in another database calls the source's macros by its name, as copies of DuckDB's databases do.
static void CallSource(ClientContext &context, RemoteCatalog &source, vector<unique_ptr<CreateInfo>> &entries) {
	auto snapshot = RemoteTransaction::Get(context, source).GetSnapshot(context);
	for (auto &info : entries) {
		if (info->type == CatalogType::TABLE_ENTRY) {
			QualifyCalls(context, info->Cast<CreateTableInfo>(), *snapshot, source.GetName());
		} else if (info->type == CatalogType::MACRO_ENTRY || info->type == CatalogType::TABLE_MACRO_ENTRY) {
			QualifyNames(context, info->Cast<CreateMacroInfo>(), *snapshot, source.GetName());
		} else if (info->type == CatalogType::INDEX_ENTRY) {
			QualifyCalls(context, info->Cast<CreateIndexInfo>(), *snapshot, source.GetName());
		}
	}
}

void CopyToDriver(ClientContext &context, unique_ptr<LogicalOperator> &plan) {
	if (plan->type != LogicalOperatorType::LOGICAL_COPY_DATABASE) {
		NoteInserts(context, *plan);
		return;
	}
	auto &copy = plan->Cast<LogicalCopyDatabase>();
	auto target = Catalog::GetCatalogEntry(context, copy.info->target_database);
	auto catalog = dynamic_cast<RemoteCatalog *>(target.get());
	if (catalog) {
		plan = CreateThere(context, *catalog, copy);
		return;
	}
	auto source = dynamic_cast<RemoteCatalog *>(SourceOf(context).get());
	if (source) {
		CallSource(context, *source, copy.info->entries);
	}
}

} // namespace duckherder
