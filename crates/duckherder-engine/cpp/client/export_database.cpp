#include "export_database.hpp"

#include "catalog.hpp"
#include "entry_order.hpp"

#include "duckdb/common/file_system.hpp"
#include "duckdb/execution/operator/persistent/physical_export.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/planner/operator/logical_export.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class PhysicalExportInOrder : public PhysicalExport {
public:
	using PhysicalExport::PhysicalExport;

protected:
	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &chunk,
	                                 OperatorSourceInput &input) const override {
		auto result = PhysicalExport::GetDataInternal(context, chunk, input);
		WriteSchema(context.client);
		return result;
	}

private:
	//! Once more, over what DuckDB has written.
	void WriteSchema(ClientContext &context) const {
		auto &catalog = Catalog::GetCatalog(context, info->GetQualifiedName().Catalog());
		vector<unique_ptr<CreateInfo>> entries;
		for (auto &entry : GetNaiveExportOrder(context, catalog)) {
			entries.push_back(entry.get().GetInfo());
		}
		string text;
		for (auto &create : InOrder(std::move(entries))) {
			create->StripCatalogQualification();
			text += create->ToString() + "\n";
		}
		text += "\n";
		auto &files = FileSystem::GetFileSystem(context);
		auto file = files.OpenFile(files.JoinPath(info->file_path, "schema.sql"),
		                           FileFlags::FILE_FLAGS_WRITE | FileFlags::FILE_FLAGS_FILE_CREATE_NEW |
		                               FileLockType::WRITE_LOCK);
		files.Write(*file, text.data(), NumericCast<int64_t>(text.size()));
	}
};

class LogicalExportInOrder : public LogicalExtensionOperator {
public:
	explicit LogicalExportInOrder(LogicalExport &plain)
	    : function(plain.function), info(std::move(plain.copy_info)), tables(std::move(plain.exported_tables)) {
		children = std::move(plain.children);
	}

	string GetName() const override {
		return "DUCKHERDER_EXPORT";
	}
	bool SupportSerialization() const override {
		return false;
	}
	PhysicalOperator &CreatePlan(ClientContext &, PhysicalPlanGenerator &planner) override {
		auto &plan = planner.Make<PhysicalExportInOrder>(types, function, std::move(info), estimated_cardinality,
		                                                 std::move(tables));
		if (!children.empty()) {
			plan.children.push_back(planner.CreatePlan(*children[0]));
		}
		return plan;
	}

protected:
	void ResolveTypes() override {
		types = {LogicalType::BOOLEAN};
	}

private:
	CopyFunction function;
	unique_ptr<CopyInfo> info;
	unique_ptr<BoundExportData> tables;
};

void ExportInOrder(ClientContext &context, unique_ptr<LogicalOperator> &plan) {
	if (plan->type != LogicalOperatorType::LOGICAL_EXPORT) {
		return;
	}
	auto &plain = plan->Cast<LogicalExport>();
	auto catalog = Catalog::GetCatalogEntry(context, plain.copy_info->GetQualifiedName().Catalog());
	if (dynamic_cast<RemoteCatalog *>(catalog.get())) {
		plan = make_uniq<LogicalExportInOrder>(plain);
	}
}

} // namespace duckherder
