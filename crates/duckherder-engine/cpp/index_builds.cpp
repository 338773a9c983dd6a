#include "index_builds.hpp"

#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/catalog/duck_catalog.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/execution/index/art/art.hpp"
#include "duckdb/execution/index/index_type_set.hpp"
#include "duckdb/execution/operator/filter/physical_filter.hpp"
#include "duckdb/execution/operator/order/physical_order.hpp"
#include "duckdb/execution/operator/projection/physical_projection.hpp"
#include "duckdb/execution/operator/scan/physical_table_scan.hpp"
#include "duckdb/execution/operator/schema/physical_create_index.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/function/table/table_scan.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/connection.hpp"
#include "duckdb/planner/expression/bound_operator_expression.hpp"
#include "duckdb/planner/expression/bound_reference_expression.hpp"
#include "duckdb/planner/operator/logical_create_index.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/table/append_state.hpp"
#include "duckdb/storage/table/column_data.hpp"
#include "duckdb/storage/table/row_group.hpp"
#include "duckdb/storage/table/row_group_collection.hpp"
#include "duckdb/storage/table/row_group_segment_tree.hpp"
#include "duckdb/storage/table/scan_state.hpp"
#include "duckdb/transaction/duck_transaction.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

#include <chrono>
#include <thread>

using namespace duckdb; // NOLINT

namespace duckherder {

namespace {

//! How long a statement waits for transactions that began before it.
constexpr std::chrono::seconds PATIENCE(5);
constexpr std::chrono::milliseconds LOOK_EVERY(5);

//! What an index is built from, as its scan found it.
struct IndexBuild : public TableFunctionInfo {
	//! The scan's own.
	table_function_init_global_t begin = nullptr;
	idx_t rows = 0;
	//! Before that, all transactions saw everything.
	VisibilityBound seen_by_all;
};

DuckTransactionManager &ManagerOf(DuckTableEntry &table) {
	return DuckTransactionManager::Get(table.catalog.GetAttached());
}

//! Rows of a part of a row group that no commit before `bound` has deleted.
idx_t CountLeft(RowGroup &row_group, idx_t vector, idx_t count, VisibilityBound bound) {
	ScanOptions options(TransactionData(MAX_TRANSACTION_ID, bound));
	options.insert_type = InsertedScanType::ALL_ROWS;
	options.delete_type = DeletedScanType::OMIT_COMMITTED_DELETES;
	SelectionVector rows(STANDARD_VECTOR_SIZE);
	return row_group.GetSelVector(options, vector, rows, count);
}

//! Whether commits from `from` on, and before `until`, have deleted rows of the table.
bool HasDeleted(DuckTableEntry &table, VisibilityBound from, VisibilityBound until) {
	auto row_groups = table.GetStorage().GetRowGroupCollection()->GetRowGroups();
	for (auto &row_group : row_groups->Segments()) {
		const idx_t rows = row_group.count;
		for (idx_t start = 0; start < rows; start += STANDARD_VECTOR_SIZE) {
			auto vector = start / STANDARD_VECTOR_SIZE;
			auto count = MinValue<idx_t>(STANDARD_VECTOR_SIZE, rows - start);
			if (CountLeft(row_group, vector, count, from) != CountLeft(row_group, vector, count, until)) {
				return true;
			}
		}
	}
	return false;
}

//! Waits, though not for long, for transactions that still see rows which were deleted before this one began.
void AwaitOlder(ClientContext &context, DuckTableEntry &table) {
	auto &manager = ManagerOf(table);
	auto own = DuckTransaction::Get(context, table.catalog).GetSnapshotView().visibility_bound;
	auto begun = std::chrono::steady_clock::now();
	for (auto seen_by_all = manager.LowestVisibilityBound(); HasDeleted(table, seen_by_all, own);) {
		auto before = seen_by_all;
		while (seen_by_all == before) {
			if (std::chrono::steady_clock::now() - begun >= PATIENCE) {
				return;
			}
			context.InterruptCheck();
			std::this_thread::sleep_for(LOOK_EVERY);
			seen_by_all = manager.LowestVisibilityBound();
		}
	}
}

//! Returns once all commits that have begun have ended, and what they, or the ends of others, left to be cleaned up has
//! been: a transaction begins and ends under the locks of both.
void AwaitCommits(ClientContext &context, AttachedDatabase &database) {
	if (database.IsTemporary()) {
		// It is this connection's alone.
		return;
	}
	Connection connection(*context.db);
	auto &transactions = connection.context->transaction;
	transactions.BeginTransaction();
	// A FORCE CHECKPOINT that waits for us lets no other begin.
	transactions.SetReadOnly();
	transactions.ActiveTransaction().GetTransaction(database);
	transactions.Rollback(nullptr);
}

//! Begins the scan.
unique_ptr<GlobalTableFunctionState> BeginScan(ClientContext &context, TableFunctionInitInput &input) {
	auto &build = input.op->Cast<PhysicalTableScan>().function.function_info->Cast<IndexBuild>();
	auto &table = input.bind_data->Cast<TableScanBindData>().table.Cast<DuckTableEntry>();
	// Not before: a plan that is only explained, or prepared, need not wait.
	AwaitOlder(context, table);
	build.seen_by_all = ManagerOf(table).LowestVisibilityBound();
	AwaitCommits(context, table.catalog.GetAttached());
	build.rows = table.GetStorage().GetTotalRows();
	if (HasDeleted(table, build.seen_by_all, VisibilityBound::AllCommitted())) {
		throw TransactionException("Cannot create an index on table %s while a transaction is open that began before "
		                           "rows were deleted from it: end that transaction, or try again when it has ended",
		                           table.name);
	}
	return build.begin(context, input);
}

//! Whether some of it may have been updated since it was written to the file.
bool HasChanges(RowGroupCollection &row_groups, const vector<StorageIndex> &columns) {
	auto tree = row_groups.GetRowGroups();
	for (auto &row_group : tree->Segments()) {
		for (auto &column : columns) {
			if (row_group.GetRawColumnData(column).HasAnyChanges()) {
				return true;
			}
		}
	}
	return false;
}

//! Refuses updates that a transaction may not see, as the scan that an index is built from does.
void RefuseUpdates(DataTable &table, const vector<column_t> &columns) {
	auto row_groups = table.GetRowGroupCollection();
	vector<StorageIndex> indexes(columns.begin(), columns.end());
	if (!HasChanges(*row_groups, indexes)) {
		return;
	}
	vector<LogicalType> types;
	for (auto column : columns) {
		types.push_back(row_groups->GetTypes()[column]);
	}
	DataChunk chunk;
	chunk.Initialize(row_groups->GetAllocator(), types);
	TableScanState state;
	state.Initialize(indexes);
	row_groups->InitializeScan(QueryContext(), state.table_state, indexes, nullptr);
	do {
		chunk.Reset();
		state.table_state.Scan(chunk, TableScanType::TABLE_SCAN_OMIT_PERMANENTLY_DELETED);
	} while (chunk.size() > 0);
}

//! Makes sure that the index has what it has to have.
class PhysicalSafeCreateIndex : public PhysicalCreateIndex {
public:
	//! `columns`: those of `op.info`, which is taken.
	PhysicalSafeCreateIndex(PhysicalPlan &plan, LogicalCreateIndex &op, const vector<column_t> &columns,
	                        const IndexType &type, unique_ptr<IndexBuildBindData> bind_data,
	                        shared_ptr<IndexBuild> build)
	    : PhysicalCreateIndex(plan, op, op.table, columns, std::move(op.info), std::move(op.unbound_expressions),
	                          op.estimated_cardinality, type, std::move(bind_data), std::move(op.alter_table_info)),
	      build(std::move(build)) {
	}

	SinkFinalizeType Finalize(Pipeline &pipeline, Event &event, ClientContext &context,
	                          OperatorSinkFinalizeInput &input) const override {
		auto result = PhysicalCreateIndex::Finalize(pipeline, event, context, input);
		// What is committed from here on is in the index; what was being committed is looked at.
		auto &storage = table.GetStorage();
		if (!alter_table_info) {
			// To a table that was altered, others can't append any more.
			TableAppendState appends;
			storage.AppendLock(DuckTransaction::Get(context, table.catalog), appends);
		}
		AwaitCommits(context, table.catalog.GetAttached());
		if (storage.GetTotalRows() != build->rows ||
		    HasDeleted(table, build->seen_by_all, VisibilityBound::AllCommitted())) {
			throw TransactionException("Transaction conflict: cannot create an index on table %s whose rows another "
			                           "transaction has changed meanwhile",
			                           table.name);
		}
		RefuseUpdates(storage, storage_ids);
		return result;
	}

private:
	const shared_ptr<IndexBuild> build;
};

//! The scan at the bottom of a plan that has one input at most.
PhysicalTableScan &ScanOf(PhysicalOperator &plan) {
	reference<PhysicalOperator> current(plan);
	while (current.get().type != PhysicalOperatorType::TABLE_SCAN) {
		if (current.get().children.size() != 1) {
			throw InternalException("an index is built from no table's scan");
		}
		current = current.get().children[0].get();
	}
	return current.get().Cast<PhysicalTableScan>();
}

//! The index's keys, and the row id.
PhysicalOperator &AddKeys(PhysicalPlanGenerator &planner, LogicalCreateIndex &op, PhysicalOperator &input) {
	vector<LogicalType> types;
	vector<unique_ptr<Expression>> columns;
	for (auto &key : op.expressions) {
		types.push_back(key->GetReturnType());
		columns.push_back(std::move(key));
	}
	types.push_back(LogicalType::ROW_TYPE);
	columns.push_back(make_uniq<BoundReferenceExpression>(LogicalType::ROW_TYPE, op.info->scan_types.size() - 1));
	auto &result =
	    planner.Make<PhysicalProjection>(std::move(types), std::move(columns), op.estimated_cardinality);
	result.children.push_back(input);
	return result;
}

//! Without keys that have a NULL, which are in no index.
PhysicalOperator &WithoutNulls(PhysicalPlanGenerator &planner, LogicalCreateIndex &op, PhysicalOperator &input) {
	vector<unique_ptr<Expression>> conditions;
	for (idx_t i = 0; i + 1 < input.types.size(); i++) {
		auto condition =
		    make_uniq<BoundOperatorExpression>(ExpressionType::OPERATOR_IS_NOT_NULL, LogicalType::BOOLEAN);
		condition->GetChildrenMutable().push_back(make_uniq<BoundReferenceExpression>(input.types[i], i));
		conditions.push_back(std::move(condition));
	}
	auto &result = planner.Make<PhysicalFilter>(input.types, std::move(conditions), op.estimated_cardinality);
	result.children.push_back(input);
	return result;
}

PhysicalOperator &InOrder(PhysicalPlanGenerator &planner, LogicalCreateIndex &op, PhysicalOperator &input) {
	vector<BoundOrderByNode> orders;
	vector<idx_t> columns;
	for (idx_t i = 0; i < input.types.size(); i++) {
		columns.push_back(i);
		if (i + 1 < input.types.size()) {
			orders.emplace_back(OrderType::ASCENDING, OrderByNullType::NULLS_FIRST,
			                    make_uniq<BoundReferenceExpression>(input.types[i], i));
		}
	}
	auto &result = planner.Make<PhysicalOrder>(input.types, std::move(orders), std::move(columns),
	                                           op.estimated_cardinality, true);
	result.children.push_back(input);
	return result;
}

//! The plan that DuckDB makes where an index type has none of its own (`PhysicalPlanGenerator::CreatePlan`), with what is
//! ours at its two ends.
PhysicalOperator &PlanBuild(PlanIndexInput &input) {
	auto &context = input.context;
	auto &op = input.op;
	auto &table = op.table.Cast<DuckTableEntry>();
	auto &scan = ScanOf(input.table_scan);
	auto build = make_shared_ptr<IndexBuild>();
	build->begin = scan.function.init_global;
	scan.function.init_global = BeginScan;
	scan.function.function_info = build;

	auto type = DBConfig::GetConfig(context).GetIndexTypes().FindByName(op.info->index_type);
	IndexBuildBindInput bind_input {context, table, *op.info, op.unbound_expressions};
	auto bind_data = type->build_bind(bind_input);
	IndexBuildSortInput sort_input {bind_data.get()};
	auto sorted = type->build_sort && type->build_sort(sort_input);
	// A primary key refuses NULL, so it has to see it.
	auto is_primary_key = op.alter_table_info && op.info->constraint_type == IndexConstraintType::PRIMARY;

	reference<PhysicalOperator> plan = AddKeys(input.planner, op, input.table_scan);
	if (!is_primary_key) {
		plan = WithoutNulls(input.planner, op, plan);
	}
	if (sorted) {
		plan = InOrder(input.planner, op, plan);
	}
	auto &result = input.planner.Make<PhysicalSafeCreateIndex>(op, op.info->column_ids, *type, std::move(bind_data),
	                                                           std::move(build));
	result.children.push_back(plan);
	return result;
}

} // namespace

void RegisterIndexBuilds(DBConfig &config) {
	config.GetIndexTypes().FindByName(ART::TYPE_NAME)->create_plan = PlanBuild;
}

} // namespace duckherder
