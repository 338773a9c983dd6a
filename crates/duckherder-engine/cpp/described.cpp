// What a database holds, for src/described.rs. DuckDB's system views would say most of it, but each of them first writes
// down all that DuckDB itself has, its 3,000 functions and the columns of its own views, which they bind: 40 ms, where
// these are none.
#include "connection.hpp"
#include "wire_type.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/index_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/query_result.hpp"
#include "duckdb/parser/constraints/not_null_constraint.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/storage/table_storage_info.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;
using duckherder::ToText;

namespace {

//! Whether a view reads tables and other views only: to bind it opens no files.
bool ReadsCatalogOnly(const SelectStatement &query) {
	auto node = query.node->Copy();
	auto only = true;
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    *node, [](unique_ptr<ParsedExpression> &) {},
	    [&](TableRef &ref) {
		    auto file = ref.type == TableReferenceType::BASE_TABLE &&
		                StringUtil::Contains(ref.Cast<BaseTableRef>().Table().GetIdentifierName(), ".");
		    only = only && !file && ref.type != TableReferenceType::TABLE_FUNCTION;
	    });
	return only;
}

//! Tells of one entry after the other.
class Description {
public:
	Description(ClientContext &context, DhTextSink sink, void *target) : context(context), sink(sink), target(target) {
	}

	void Schema(SchemaCatalogEntry &schema) {
		if (!schema.internal) {
			Begin(schema, schema.name, string());
			EndWithoutColumns();
		}
		// Binding a view looks into the same sets.
		vector<reference<CatalogEntry>> entries;
		for (auto kind : {CatalogType::TYPE_ENTRY, CatalogType::MACRO_ENTRY, CatalogType::TABLE_MACRO_ENTRY,
		                  CatalogType::SEQUENCE_ENTRY, CatalogType::TABLE_ENTRY, CatalogType::INDEX_ENTRY}) {
			schema.Scan(context, kind, [&](CatalogEntry &entry) {
				auto view = kind == CatalogType::TABLE_ENTRY && entry.type == CatalogType::VIEW_ENTRY;
				if (!entry.internal && !entry.temporary && (entry.type == kind || view)) {
					entries.push_back(entry);
				}
			});
		}
		for (auto &found : entries) {
			auto &entry = found.get();
			switch (entry.type) {
			case CatalogType::TABLE_ENTRY:
				Table(schema, entry.Cast<TableCatalogEntry>());
				break;
			case CatalogType::VIEW_ENTRY:
				View(schema, entry.Cast<ViewCatalogEntry>());
				break;
			case CatalogType::INDEX_ENTRY:
				Index(schema, entry.Cast<IndexCatalogEntry>());
				break;
			case CatalogType::SEQUENCE_ENTRY:
				Sequence(schema, entry.Cast<SequenceCatalogEntry>());
				break;
			default:
				Begin(entry, schema.name, CreateSql(*entry.GetInfo()));
				EndWithoutColumns();
			}
		}
	}

	void Tell(const string &text) {
		sink(target, ToText(text));
	}

private:
	static string CreateSql(CreateInfo &info) {
		info.StripCatalogQualification();
		return info.ToString();
	}

	void Tell(bool value) {
		Tell(value ? string("1") : string());
	}
	//! Two texts: whether there is one, and it.
	void TellOptional(const Value &value) {
		Tell(!value.IsNull());
		Tell(value.IsNull() ? string() : value.ToString());
	}

	void Begin(CatalogEntry &entry, const Identifier &schema, const string &sql) {
		Tell(CatalogTypeToString(entry.type));
		Tell(schema.GetIdentifierName());
		Tell(entry.name.GetIdentifierName());
		Tell(to_string(entry.oid));
		Tell(sql);
		TellOptional(entry.comment);
	}
	//! The table of an index; rows; of a sequence how often it was used, the next value and the last; how many columns.
	void End(const string &table, const string &rows, const string &uses, const string &next, const string &last,
	         idx_t columns) {
		Tell(table);
		Tell(rows);
		Tell(uses);
		Tell(next);
		Tell(last);
		Tell(to_string(columns));
	}
	void EndWithoutColumns(const string &table = string()) {
		End(table, string(), string(), string(), string(), 0);
	}
	//! One of the columns that `End` has promised.
	void Column(const string &name, const string &type, bool not_null, const Value &default_sql, const Value &comment,
	            bool generated) {
		Tell(name);
		Tell(type);
		Tell(not_null);
		TellOptional(default_sql);
		TellOptional(comment);
		Tell(generated);
	}
	//! A state of an aggregate has no text that can be read: it is told as the STRUCT that it is kept in.
	static bool HasState(const LogicalType &type) {
		return TypeVisitor::Contains(type, [](const LogicalType &part) { return part.IsAggregateState(); });
	}
	//! With its collation, which DuckDB leaves out.
	static string TypeName(const LogicalType &type) {
		return duckherder::IsCollated(type) || HasState(type) ? duckherder::WireTypeName(type) : type.ToString();
	}

	//! DuckDB writes them where its parser takes none. The column's type tells them.
	static void LeaveCollationsOfGenerated(CreateTableInfo &info) {
		ColumnList columns;
		for (auto &column : info.columns.Logical()) {
			auto copy = column.Copy();
			if (copy.Generated() && duckherder::IsCollated(copy.Type())) {
				copy.SetType(duckherder::WithoutCollations(copy.Type()));
			}
			columns.AddColumn(std::move(copy));
		}
		info.columns = std::move(columns);
	}

	void Table(SchemaCatalogEntry &schema, TableCatalogEntry &table) {
		auto info = table.GetInfo();
		LeaveCollationsOfGenerated(info->Cast<CreateTableInfo>());
		Begin(table, schema.name, CreateSql(*info));
		auto storage = table.GetStorageInfo(context);
		auto rows = storage.cardinality.IsValid() ? to_string(storage.cardinality.GetIndex()) : string();
		auto &columns = table.GetColumns();
		End(string(), rows, string(), string(), string(), columns.LogicalColumnCount());
		set<idx_t> not_null;
		for (auto &constraint : table.GetConstraints()) {
			if (constraint->type == ConstraintType::NOT_NULL) {
				not_null.insert(constraint->Cast<NotNullConstraint>().index.index);
			}
		}
		for (auto &column : columns.Logical()) {
			Value value;
			if (column.Generated()) {
				value = Value(column.GeneratedExpression().ToString());
			} else if (column.HasDefaultValue()) {
				value = Value(column.DefaultValue().ToString());
			}
			Column(column.Name().GetIdentifierName(), TypeName(column.Type()), not_null.count(column.Logical().index) > 0,
			       value, column.Comment(), column.Generated());
		}
	}

	void View(SchemaCatalogEntry &schema, ViewCatalogEntry &view) {
		Begin(view, schema.name, view.ToSQL());
		try {
			// What it reads may have other columns now.
			auto again = ReadsCatalogOnly(view.GetQuery());
			view.BindView(context, again ? BindViewAction::FORCE_REBIND : BindViewAction::BIND_IF_UNBOUND);
		} catch (const InterruptException &) {
			throw;
		} catch (std::exception &) { // NOLINT: its tables may be gone
		}
		auto bound = view.GetColumnInfo();
		if (!bound) {
			// A column without a name or a type stands for those that nobody knows.
			End(string(), string(), string(), string(), string(), 1);
			Column(string(), string(), false, Value(), Value(), false);
			return;
		}
		auto names = bound->names;
		QueryResult::DeduplicateColumns(names);
		End(string(), string(), string(), string(), string(), names.size());
		for (idx_t i = 0; i < names.size(); i++) {
			auto &name = i < view.aliases.size() ? view.aliases[i] : names[i];
			auto comment = view.GetColumnComment(i);
			Column(name.GetIdentifierName(), TypeName(bound->types[i]), false, Value(), comment, false);
		}
	}

	void Index(SchemaCatalogEntry &schema, IndexCatalogEntry &index) {
		Begin(index, schema.name, index.ToSQL());
		auto &table = schema.catalog.GetEntry<TableCatalogEntry>(
		    context, index.schema.GetQualifiedName(index.GetTableName()));
		EndWithoutColumns(table.name.GetIdentifierName());
	}

	//! Its statement has the next value in place of the first.
	void Sequence(SchemaCatalogEntry &schema, SequenceCatalogEntry &sequence) {
		auto info = sequence.GetInfo();
		auto state = sequence.GetData();
		info->Cast<CreateSequenceInfo>().start_value = state.start_value;
		Begin(sequence, schema.name, CreateSql(*info));
		string uses, next, last;
		if (state.usage_count > 0) {
			uses = to_string(state.usage_count);
			next = to_string(state.counter);
			last = state.last_value ? to_string(*state.last_value) : string();
		}
		End(string(), string(), uses, next, last, 0);
	}

	ClientContext &context;
	DhTextSink sink;
	void *target;
};

} // namespace

extern "C" {

//! The default database's name, then the texts of each entry that is the user's.
bool dh_connection_describe(DhConnection *connection, DhTextSink sink, void *target, DhError *error) {
	return Guard(error, false, [&]() {
		auto &context = *connection->context;
		// As in dh_statement_prepare.
		context.ClearInterrupt();
		context.RunFunctionInTransaction([&]() {
			Description description(context, sink, target);
			auto name = DatabaseManager::GetDefaultDatabase(context);
			description.Tell(name.GetIdentifierName());
			for (auto &schema : Catalog::GetCatalog(context, name).GetSchemas(context)) {
				description.Schema(schema.get());
			}
		});
		return true;
	});
}

} // extern "C"
