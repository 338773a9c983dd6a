// The walk through a statement that goes to a driver; see statement_rewriter.hpp for what it is for. Its parts, by file:
// queries (statement_rewriter.cpp), what becomes a part of the catalog (entry_rewriter.cpp), names that the driver would take
// for something else (kept_names.cpp), and names that have the catalog's before them (stored_names.cpp).
#pragma once

#include "catalog.hpp"
#include "cte_names.hpp"
#include "searched_names.hpp"
#include "subject_names.hpp"
#include "type_names.hpp"
#include "whole_rows.hpp"
#include "written_names.hpp"

#include "duckdb/parser/column_definition.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/create_info.hpp"
#include "duckdb/parser/sql_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

namespace duckherder {

//! Walks a syntax tree: types of the client's own are replaced by their definition, tables that the client registered
//! by the driver's names, and parameters are collected.
class StatementRewriter {
public:
	StatementRewriter(duckdb::ClientContext &context, RemoteCatalog &catalog, NamedPlaces places)
	    : context(context), catalog(catalog), written(context, catalog, std::move(places)),
	      searched(context, catalog, written), subjects(context, catalog, written, searched),
	      types(context, catalog, written, searched) {
	}

	duckdb::vector<duckdb::Identifier> parameters;

	//! Of errors, the driver says where they are in the statement.
	void NoteShift();
	void Rewrite(duckdb::QueryNode &node);
	void Rewrite(duckdb::SQLStatement &statement);

private:
	//! DuckDB has taken the catalog away that told a macro of the driver's from a function of DuckDB's of that name. What
	//! the user has called without it, the driver looks for as this client would.
	void KeepApart(duckdb::FunctionExpression &call, const duckdb::QueryLocation &location, duckdb::CatalogType type);
	void KeepApart(duckdb::QualifiedName &call, const duckdb::QueryLocation &location, duckdb::CatalogType type);
	//! A table may be called like a view of DuckDB's, which the driver would find first.
	void KeepTableApart(duckdb::QualifiedName &name);
	//! What the driver calls the catalog.
	const duckdb::Identifier &DatabaseThere();
	void CheckReach(const duckdb::QualifiedName &name, const duckdb::QueryLocation &location,
	                duckdb::CatalogType type);
	//! What is stored in a view, or as a type, is looked for beside it first; of what query() is given, nothing is known.
	void CheckNames(const duckdb::QualifiedName &name, const duckdb::QueryLocation &location,
	                duckdb::CatalogType type);
	void CheckTable(const duckdb::BaseTableRef &table, bool is_cte);
	bool RenameTable(duckdb::QualifiedName &name);

	//! DuckDB takes the catalog's name out of what it hands over, but not everywhere: out of no PIVOT, DESCRIBE or CHECK
	//! that is stored. (Elsewhere the first name may be that of one of the driver's databases.) Whether it was there.
	bool StripCatalog(duckdb::QualifiedName &name, duckdb::CatalogType type = duckdb::CatalogType::TABLE_ENTRY);
	//! What is stored has query() and query_table() read the driver's tables by the driver's names, where these are given
	//! as constants. (Others are understood there, see named_by_client.cpp.) So it is with what describes a table, which
	//! looks for it where the session would.
	void StripCatalog(duckdb::FunctionExpression &call);
	void StripCatalog(duckdb::unique_ptr<duckdb::ParsedExpression> &text, bool is_table);
	duckdb::string TableThere(const duckdb::string &given);
	//! What is no query is left for DuckDB to refuse.
	duckdb::string QueryThere(const duckdb::string &given);

	void RewriteParts(duckdb::QueryNode &node);
	void Rewrite(duckdb::TableRef &ref);
	void Rewrite(duckdb::ParsedExpression &expression);

	void RewriteDefault(duckdb::ParsedExpression &value);
	void Rewrite(duckdb::ColumnDefinition &column);
	void Rewrite(duckdb::CreateInfo &info);
	void Rewrite(duckdb::AlterInfo &info);

	duckdb::ClientContext &context;
	RemoteCatalog &catalog;
	WrittenNames written;
	SearchedNames searched;
	SubjectNames subjects;
	TypeNames types;
	//! It becomes a part of the catalog.
	bool is_stored = false;
	CTENames ctes;
	//! What is deleted from or merged into has no place in the text, and is looked at by itself.
	duckdb::optional_ptr<const duckdb::QualifiedName> checked_target;
	//! What is rewritten is a column's default, or what a macro consists of.
	bool of_column = false;
	bool fills_column = false;
	bool of_macro = false;
	//! Where the names of a macro's CTEs hold is not looked into.
	bool may_have_ctes = false;
	bool of_view = false;
	//! What is rewritten is no part of the statement's text.
	bool of_text = false;
	//! Those of the outermost query that is rewritten.
	duckdb::optional_ptr<const WholeRows> whole_rows;
};

} // namespace duckherder
