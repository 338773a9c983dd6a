#include "zones.hpp"

#include "bridge.hpp"
#include "connection.hpp"
#include "fragment.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/statistics/numeric_stats.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Row groups of a table that are looked at.
static constexpr idx_t MOST_ZONES = 512;

static int64_t AsNumber(const Value &value) {
	switch (value.type().InternalType()) {
	case PhysicalType::INT8:
		return value.GetValueUnsafe<int8_t>();
	case PhysicalType::INT16:
		return value.GetValueUnsafe<int16_t>();
	case PhysicalType::INT32:
		return value.GetValueUnsafe<int32_t>();
	case PhysicalType::INT64:
		return value.GetValueUnsafe<int64_t>();
	case PhysicalType::UINT8:
		return value.GetValueUnsafe<uint8_t>();
	case PhysicalType::UINT16:
		return value.GetValueUnsafe<uint16_t>();
	case PhysicalType::UINT32:
		return value.GetValueUnsafe<uint32_t>();
	default:
		throw InternalException("a column of %s has no ranges", value.type().ToString());
	}
}

template <class T>
static void Limits(int64_t &lowest, int64_t &highest) {
	lowest = NumericLimits<T>::Minimum();
	highest = NumericLimits<T>::Maximum();
}

void LimitsOf(const LogicalType &type, int64_t &lowest, int64_t &highest) {
	switch (type.InternalType()) {
	case PhysicalType::INT8:
		return Limits<int8_t>(lowest, highest);
	case PhysicalType::INT16:
		return Limits<int16_t>(lowest, highest);
	case PhysicalType::INT32:
		return Limits<int32_t>(lowest, highest);
	case PhysicalType::INT64:
		return Limits<int64_t>(lowest, highest);
	case PhysicalType::UINT8:
		return Limits<uint8_t>(lowest, highest);
	case PhysicalType::UINT16:
		return Limits<uint16_t>(lowest, highest);
	case PhysicalType::UINT32:
		return Limits<uint32_t>(lowest, highest);
	default:
		throw InternalException("a column of %s has no ranges", type.ToString());
	}
}

static bool AddZone(vector<Zone> &zones, const BaseStatistics &found, idx_t rows) {
	// What is infinite is far from what else there is: between them, no value is a date.
	if (!NumericStats::HasMinMax(found) || !Value::IsFinite(NumericStats::Min(found)) ||
	    !Value::IsFinite(NumericStats::Max(found))) {
		return false;
	}
	zones.push_back(Zone {rows, AsNumber(NumericStats::Min(found)), AsNumber(NumericStats::Max(found))});
	return true;
}

vector<Zone> ZonesOf(ClientContext &context, DuckTableEntry &table, const ColumnDefinition &column) {
	auto all = table.GetStatistics(context, column.Oid());
	if (!all || all->CanHaveNull()) {
		return {};
	}
	auto groups = table.GetStorage().GetPartitionStats(context);
	auto each = groups.size() / MOST_ZONES + 1;
	vector<Zone> zones;
	for (idx_t i = 0; i < groups.size(); i += each) {
		auto &row_group = groups[i].partition_row_group;
		auto found = row_group ? row_group->GetColumnStatistics(StorageIndex(column.StorageOid())) : nullptr;
		if (groups[i].count > 0 && (!found || !AddZone(zones, *found, groups[i].count * each))) {
			return {};
		}
	}
	return zones;
}

bool AddZones(vector<Zone> &zones, const vector<PartitionStatistics> &groups, idx_t place) {
	for (auto &group : groups) {
		if (group.count == 0) {
			continue;
		}
		auto &row_group = group.partition_row_group;
		auto found = row_group ? row_group->GetColumnStatistics(StorageIndex(place)) : nullptr;
		if (!found || found->CanHaveNull() || !AddZone(zones, *found, group.count)) {
			return false;
		}
	}
	return !groups.empty();
}

} // namespace duckherder

using duckherder::Fragment;

extern "C" {

//! Called for each row group, in order: its first row id, and the least and the greatest value of a column.
typedef void (*DhZoneSink)(void *target, uint64_t first, int64_t least, int64_t greatest);

//! Where the table of a split input has which values of a column, for the transaction of the connection; nothing if not all
//! row groups have something to say.
void dh_fragment_zones(DhConnection *connection, const Fragment *fragment, uint64_t input, uint64_t column,
                       DhZoneSink sink, void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		auto &context = *connection->context;
		context.RunFunctionInTransaction([&]() {
			auto &name = fragment->Splits().at(input).table;
			auto &table = Catalog::GetEntry<TableCatalogEntry>(context, name).Cast<DuckTableEntry>();
			StorageIndex storage(table.GetColumn(LogicalIndex(column)).StorageOid());
			auto groups = table.GetStorage().GetPartitionStats(context);
			vector<duckherder::Zone> zones;
			for (auto &group : groups) {
				auto found = group.partition_row_group ? group.partition_row_group->GetColumnStatistics(storage) : nullptr;
				if (!found || !group.row_start.IsValid() || !duckherder::AddZone(zones, *found, group.count)) {
					return;
				}
			}
			for (idx_t i = 0; i < groups.size(); i++) {
				sink(target, groups[i].row_start.GetIndex(), zones[i].least, zones[i].greatest);
			}
		});
		return true;
	});
}

} // extern "C"
