// The part of a plan that the tasks of one stage run: SQL over the names of its inputs, kept as a syntax tree.
#pragma once

#include "file_target.hpp"
#include "files.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/qualified_name.hpp"
#include "duckdb/planner/logical_operator.hpp"

#include <functional>

namespace duckdb {
class LogicalGet;
class LogicalAggregate;
class TableCatalogEntry;
class ExtensionLoader;
} // namespace duckdb

extern "C" {
//! Which rows of a table, or which units of files, a task reads; `Split` in the planner.
struct DhSplit {
	//! -1: open.
	int64_t first;
	int64_t last;
	//! 0: a range; otherwise the first `rows` of every `every` row ids, a power of two.
	int64_t every;
	int64_t rows;
	//! -1: any rows of these; otherwise those with a value from `least` to `greatest` in the column of this number.
	int64_t key;
	int64_t least;
	int64_t greatest;
	//! If there are some, all of these instead, in their order; they have none.
	const DhSplit *parts;
	uint64_t part_count;
};

//! Rows of a scan that have other values in the column can meet none in a join.
struct DhScanRange {
	uint64_t scan;
	//! Its number in the table, or among the files' columns.
	uint64_t column;
	//! If there is no such value, the greater one; the least number of all: open, as is the greatest of all below.
	int64_t least;
	int64_t greatest;
};

//! A task's query: on the instance that has the tables; elsewhere, over the names of its inputs but files; and of the last
//! column alone of the rows that the first gives.
enum DhFragmentForm : int { DH_FRAGMENT_HERE = 0, DH_FRAGMENT_ELSEWHERE = 1, DH_FRAGMENT_LAST_COLUMN = 2 };
//! What an input of a fragment is.
enum DhInputKind : int { DH_INPUT_SPLIT = 0, DH_INPUT_EXCHANGE = 1, DH_INPUT_FILES = 2 };
//! Called for each input, in order: a split of a table or of files and the number of its scan, or an exchange and the
//! stage that it comes from.
typedef void (*DhInputSink)(void *target, int kind, uint64_t number);
//! Called for each key of the hash, in order: the number of the column that it is, if its range may be asked for, or -1.
typedef void (*DhKeySink)(void *target, int64_t column);
}

namespace duckherder {

//! A table, or files, of which each task reads a split, under the name `split_<scan>`.
struct SplitInput {
	duckdb::idx_t scan;
	duckdb::QualifiedName table;
	//! In the place of a table.
	duckdb::shared_ptr<const FileScan> files;
	//! The numbers of the columns that are needed.
	duckdb::vector<duckdb::column_t> columns;
	//! Of a table's: their names.
	duckdb::vector<duckdb::Identifier> names;
	//! Of those that have a range: their types.
	duckdb::map<duckdb::column_t, duckdb::LogicalType> types;
	//! Other rows are not needed.
	duckdb::vector<DhScanRange> ranges;
	//! Of a table's: their places in its storage; empty if one of them is made of others, or has parts.
	duckdb::vector<duckdb::idx_t> stored_columns;
	//! Of a table's: one of them is computed of others, by whatever the names in it mean to the driver.
	bool has_computed = false;
};

//! Rows of another stage, under the name `exchange_<stage>`, with columns c0, c1 ...
struct ExchangeInput {
	duckdb::idx_t stage;
	duckdb::vector<duckdb::LogicalType> types;
	//! Several operators read them, which arrive once: they are kept.
	bool read_again;
};

//! What the name of the rows of a stage begins with.
constexpr const char *EXCHANGE_PREFIX = "exchange_";

duckdb::Identifier SplitName(duckdb::idx_t scan);
duckdb::Identifier ExchangeName(duckdb::idx_t stage);
//! c0, c1 ...: the columns of a relation that has no names of its own.
duckdb::Identifier ColumnName(duckdb::idx_t index);

class Fragment {
public:
	Fragment(duckdb::unique_ptr<duckdb::QueryNode> query, duckdb::vector<SplitInput> splits,
	         duckdb::vector<ExchangeInput> exchanges);

	//! The SQL that every task runs, over the names of its inputs.
	duckdb::string ToString() const;
	duckdb::unique_ptr<duckdb::QueryNode> CopyQuery() const {
		return query->Copy();
	}
	//! The SQL of one task elsewhere, which reads its files itself, over the names of its other inputs; a split an input. What
	//! several operators read is kept there.
	//! States, which Arrow doesn't know, travel as the plain values that they are.
	duckdb::unique_ptr<duckdb::QueryNode> RemoteQuery(const duckdb::vector<DhSplit> &splits) const;
	//! The rows of one split of an input, as a query of the driver's database, or of one that has the same tables under the
	//! name of `catalog`.
	duckdb::unique_ptr<duckdb::QueryNode> SplitQuery(duckdb::idx_t input, const DhSplit &split,
	                                                 const duckdb::string &catalog = duckdb::string()) const;
	//! What a split by keys says of the rows that it reads, in the names of the input's columns; empty if all are read.
	duckdb::string KeyCondition(duckdb::idx_t input, const DhSplit &split) const;
	//! The SQL of one task where the tables themselves can be read; a split an input.
	duckdb::unique_ptr<duckdb::QueryNode> TaskQuery(const duckdb::vector<DhSplit> &splits) const;
	//! The last column alone of the rows of one task where the tables themselves can be read; once its types are known.
	duckdb::unique_ptr<duckdb::QueryNode> LastColumnQuery(const duckdb::vector<DhSplit> &splits) const;
	//! The types that the fragment's columns have. Binds it, and throws NotImplementedException if DuckDB can't.
	const duckdb::vector<duckdb::LogicalType> &BindTypes(duckdb::ClientContext &context);
	//! The same, once bound.
	const duckdb::vector<duckdb::LogicalType> &Types() const {
		return types;
	}

	//! The columns, by number, that the keys of its hash are: -1 where a key is another expression, or has no range.
	duckdb::vector<int64_t> keys;
	//! The same without rows of its scans that are outside of these ranges.
	duckdb::unique_ptr<Fragment> Narrowed(const duckdb::vector<DhScanRange> &ranges) const;

	const duckdb::vector<SplitInput> &Splits() const {
		return splits;
	}
	const duckdb::vector<ExchangeInput> &Exchanges() const {
		return exchanges;
	}

	duckdb::unique_ptr<Fragment> Copy() const;

	//! What tasks write instead of giving their rows, if they do.
	duckdb::shared_ptr<const FileTarget> target;
	//! The same fragment, which writes its rows to `path` and tells how many there were, in which files.
	duckdb::unique_ptr<Fragment> Writing(const duckdb::string &path) const;

private:
	using DefineExchange = std::function<duckdb::unique_ptr<duckdb::QueryNode>(const ExchangeInput &)>;
	//! The SQL with a definition for each name of an input.
	duckdb::unique_ptr<duckdb::QueryNode> WithInputs(const duckdb::vector<DhSplit> &splits,
	                                                 const DefineExchange &define) const;

	duckdb::unique_ptr<duckdb::QueryNode> query;
	duckdb::vector<SplitInput> splits;
	duckdb::vector<ExchangeInput> exchanges;
	//! `rows`, or the same query that writes them.
	duckdb::unique_ptr<duckdb::QueryNode> Written(duckdb::unique_ptr<duckdb::QueryNode> rows) const;

	//! Known once bound.
	duckdb::vector<duckdb::LogicalType> types;
	//! Where one task writes; empty: nowhere.
	duckdb::string path;
};

//! The type that carries an aggregate's state; any other type is its own.
duckdb::LogicalType WithoutState(const duckdb::LogicalType &type);

//! SQL name of the function that takes the name off a state.
constexpr const char *STATE_VALUE_FUNCTION = "duckherder_state_value";
void RegisterStateValue(duckdb::ExtensionLoader &loader);

} // namespace duckherder
