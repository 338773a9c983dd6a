#include "statements.hpp"

#include "copy_database.hpp"
#include "export_database.hpp"
#include "transaction.hpp"

#include "duckdb/execution/physical_operator.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/parser/statement/vacuum_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/planner/bound_statement.hpp"
#include "duckdb/planner/operator/logical_vacuum.hpp"
#include "duckdb/planner/planner_extension.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class PhysicalStatements : public PhysicalOperator {
public:
	PhysicalStatements(PhysicalPlan &plan, RemoteCatalog &catalog, vector<string> statements, vector<LogicalType> types)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, std::move(types), 0), catalog(catalog),
	      statements(std::move(statements)) {
	}

	string GetName() const override {
		return "DUCKHERDER_STATEMENTS";
	}
	bool IsSource() const override {
		return true;
	}

protected:
	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &, OperatorSourceInput &) const override {
		for (auto &statement : statements) {
			catalog.Run(context.client, statement);
		}
		return SourceResultType::FINISHED;
	}

private:
	RemoteCatalog &catalog;
	const vector<string> statements;
};

PhysicalOperator &LogicalStatements::CreatePlan(ClientContext &context, PhysicalPlanGenerator &planner) {
	// Counted beforehand, so that all of them share a transaction.
	auto &transaction = RemoteTransaction::Get(context, catalog);
	for (idx_t i = 0; i + 1 < statements.size(); i++) {
		transaction.AddOperation(context);
	}
	return planner.Make<PhysicalStatements>(catalog, statements, types);
}

//! VACUUM and ANALYZE of a driver's table, or of what of it DuckDB takes for one.
static void VacuumThere(unique_ptr<LogicalOperator> &plan) {
	if (plan->type != LogicalOperatorType::LOGICAL_VACUUM) {
		return;
	}
	auto &vacuum = plan->Cast<LogicalVacuum>();
	auto table = vacuum.HasTable() ? dynamic_cast<RemoteTable *>(&vacuum.GetTable()) : nullptr;
	if (!table) {
		return;
	}
	VacuumStatement statement(vacuum.GetInfo().options);
	statement.info = vacuum.GetInfo().Copy();
	auto reference = make_uniq<BaseTableRef>();
	reference->SetQualifiedName(table->RemoteName());
	statement.info->ref = std::move(reference);
	vector<string> statements {statement.ToString()};
	plan = make_uniq<LogicalStatements>(table->GetRemoteCatalog(), std::move(statements));
}

static void AfterBinding(PlannerExtensionInput &input, BoundStatement &statement) {
	if (!statement.plan) {
		return;
	}
	auto explained = statement.plan->type == LogicalOperatorType::LOGICAL_EXPLAIN;
	auto &plan = explained ? statement.plan->children[0] : statement.plan;
	CopyToDriver(input.context, plan);
	ExportInOrder(input.context, plan);
	VacuumThere(plan);
}

void RegisterStatements(DBConfig &config) {
	PlannerExtension extension;
	extension.post_bind_function = AfterBinding;
	PlannerExtension::Register(config, std::move(extension));
}

} // namespace duckherder
