#include "wire_type.hpp"

#include "duckdb/common/sql_identifier.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/common/mutex.hpp"
#include "duckdb/common/optional.hpp"
#include "duckdb/main/client_context.hpp"

#include <list>

using namespace duckdb; // NOLINT

namespace duckherder {

LogicalType WithoutUserTypes(const LogicalType &type) {
	return TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
		if (!part.HasAlias() || part.IsJSONType()) {
			return part;
		}
		return part.WithAlias("");
	});
}

bool IsCollated(const LogicalType &type) {
	return TypeVisitor::Contains(type, [](const LogicalType &part) {
		return part.id() == LogicalTypeId::VARCHAR && !StringType::GetCollation(part).empty();
	});
}

LogicalType WithoutCollations(const LogicalType &type) {
	return TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
		return part.id() == LogicalTypeId::VARCHAR && IsCollated(part) ? LogicalType::VARCHAR : part;
	});
}

string WireTypeName(const LogicalType &type) {
	auto anywhere = WithoutUserTypes(type);
	if (!IsCollated(anywhere)) {
		return anywhere.ToString();
	}
	// DuckDB's own text of a type leaves the collation out, though it reads one.
	return TypeVisitor::VisitReplace(anywhere, [](const LogicalType &part) {
		       if (part.id() != LogicalTypeId::VARCHAR || !IsCollated(part)) {
			       return part;
		       }
		       return LogicalType(LogicalType::VARCHAR)
		           .WithAlias("VARCHAR(" + SQLString::ToString(StringType::GetCollation(part)) + ")");
	       })
	    .ToString();
}

//! Types of long texts, such as ENUMs of many values, which take DuckDB's parser some milliseconds a thousand. Who has one
//! from here also shares its values, so that two of them are found to be equal without a look at these.
class LongTypes {
public:
	static LongTypes &Instance() {
		static LongTypes types;
		return types;
	}

	static bool IsLong(const string &text) {
		return text.size() >= LEAST_BYTES && text.size() <= MOST_BYTES / 2;
	}

	optional<LogicalType> Find(const string &text) {
		lock_guard<mutex> guard(lock);
		for (auto found = known.begin(); found != known.end(); found++) {
			if (found->text == text) {
				known.splice(known.begin(), known, found);
				return known.front().type;
			}
		}
		return {};
	}

	void Add(const string &text, const LogicalType &type) {
		lock_guard<mutex> guard(lock);
		known.push_front({text, type});
		bytes += text.size();
		while (bytes > MOST_BYTES) {
			bytes -= known.back().text.size();
			known.pop_back();
		}
	}

private:
	static constexpr idx_t LEAST_BYTES = 1000;
	//! Of texts; the values of a type take about as many bytes again.
	static constexpr idx_t MOST_BYTES = 16 << 20;

	struct Known {
		string text;
		LogicalType type;
	};

	mutex lock;
	//! Those first that were asked for last.
	std::list<Known> known;
	idx_t bytes = 0;
};

LogicalType ParseWireType(ClientContext &context, const string &text) {
	if (!LongTypes::IsLong(text)) {
		return TransformStringToLogicalType(text, context);
	}
	auto &types = LongTypes::Instance();
	if (auto found = types.Find(text)) {
		return *found;
	}
	auto type = TransformStringToLogicalType(text, context);
	// What a database calls so is of that database.
	if (type == WithoutUserTypes(type)) {
		types.Add(text, type);
	}
	return type;
}

} // namespace duckherder
