#include "session_of_client.hpp"

#include "bridge.hpp"
#include "connection.hpp"
#include "names_of_client.hpp"

#include "duckdb/common/serializer/binary_deserializer.hpp"
#include "duckdb/common/serializer/binary_serializer.hpp"
#include "duckdb/common/serializer/memory_stream.hpp"
#include "duckdb/common/types/blob.hpp"
#include "duckdb/main/client_config.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Variables that take more, all together, stay with the client: they would travel with every statement.
static constexpr idx_t MOST_BYTES = 1 << 20;

//! Nor do those travel whose types have more levels: whoever reads them takes a piece of the stack for each.
static constexpr idx_t MOST_LEVELS = 200;
//! How much of it reading variables may take, several times what so many levels do.
static constexpr std::ptrdiff_t MOST_STACK_BYTES = 4 << 20;

static bool HasMoreLevels(const LogicalType &type, idx_t most) {
	switch (type.id()) {
	case LogicalTypeId::STRUCT:
	case LogicalTypeId::TUPLE:
	case LogicalTypeId::UNION: {
		auto &children = StructType::GetChildTypes(type);
		return most == 0 || std::any_of(children.begin(), children.end(),
		                                [&](const auto &child) { return HasMoreLevels(child.second, most - 1); });
	}
	case LogicalTypeId::LIST:
	case LogicalTypeId::MAP:
		return most == 0 || HasMoreLevels(ListType::GetChildType(type), most - 1);
	case LogicalTypeId::ARRAY:
		return most == 0 || HasMoreLevels(ArrayType::GetChildType(type), most - 1);
	default:
		return false;
	}
}

//! Whether it need not be written to be seen to take too much.
static bool IsLong(const Value &value) {
	if (HasMoreLevels(value.type(), MOST_LEVELS)) {
		return true;
	}
	if (value.IsNull()) {
		return false;
	}
	switch (value.type().InternalType()) {
	case PhysicalType::VARCHAR:
		return StringValue::Get(value).size() > MOST_BYTES;
	case PhysicalType::LIST:
		return ListValue::GetChildren(value).size() > MOST_BYTES;
	default:
		return false;
	}
}

//! Has whatever reads from it fail, however deep the bytes say that a value is, before the stack ends.
class ShallowStream : public MemoryStream {
public:
	ShallowStream(data_ptr_t data, idx_t size) : MemoryStream(data, size), base(Here()) {
	}
	void ReadData(data_ptr_t buffer, idx_t size) override {
		Check();
		MemoryStream::ReadData(buffer, size);
	}
	void ReadData(QueryContext context, data_ptr_t buffer, idx_t size) override {
		Check();
		MemoryStream::ReadData(context, buffer, size);
	}

private:
	static const char *Here() {
		return static_cast<const char *>(__builtin_frame_address(0));
	}
	void Check() const {
		if (std::abs(Here() - base) > MOST_STACK_BYTES) {
			throw InvalidInputException("the variables of a session are nested too deeply");
		}
	}

	const char *const base;
};

optional<string> WriteVariables(ClientContext &context) {
	auto &variables = ClientConfig::GetConfig(context).user_variables;
	auto is_long = [](const auto &variable) { return IsLong(variable.second); };
	if (variables.empty() || std::any_of(variables.begin(), variables.end(), is_long)) {
		return {};
	}
	child_list_t<Value> named;
	for (auto &variable : variables) {
		named.emplace_back(variable.first, variable.second);
	}
	// The same variables have the same text.
	std::sort(named.begin(), named.end(), [](const auto &a, const auto &b) { return a.first < b.first; });
	MemoryStream stream;
	BinarySerializer::Serialize(Value::STRUCT(std::move(named)), stream);
	if (stream.GetPosition() > MOST_BYTES) {
		return {};
	}
	return Blob::ToBase64(string_t(const_char_ptr_cast(stream.GetData()), NumericCast<uint32_t>(stream.GetPosition())));
}

bool AreVariablesSent(ClientContext &context) {
	return ClientConfig::GetConfig(context).user_variables.empty() || WriteVariables(context);
}

void ReadVariables(ClientContext &context, const optional<string> &text) {
	identifier_map_t<Value> read;
	if (text) {
		auto bytes = Blob::FromBase64(string_t(*text));
		ShallowStream stream(data_ptr_cast(&bytes[0]), bytes.size());
		BinaryDeserializer deserializer(stream);
		deserializer.Set<DatabaseInstance &>(*context.db);
		deserializer.Begin();
		auto named = Value::Deserialize(deserializer);
		deserializer.End();
		if (named.IsNull() || named.type().id() != LogicalTypeId::STRUCT) {
			throw InvalidInputException("the variables of a session are no STRUCT");
		}
		for (idx_t i = 0; i < StructType::GetChildCount(named.type()); i++) {
			read[StructType::GetChildName(named.type(), i)] = StructValue::GetChildren(named)[i];
		}
	}
	ClientConfig::GetConfig(context).user_variables = std::move(read);
}

} // namespace duckherder

using namespace duckherder; // NOLINT

extern "C" {

//! Makes these the variables of the connection's session; without a text, it has none.
bool dh_connection_set_variables(DhConnection *connection, DhText text, bool present, DhError *error) {
	return Guard(error, false, [&]() {
		auto mark = connection->statements->Mark(*connection->context, Reach::SESSION);
		ReadVariables(*connection->context, present ? optional<string>(ToString(text)) : optional<string>());
		return true;
	});
}

//! The statements come from a client that has this database attached; see names_of_client.hpp.
bool dh_connection_serve_attachment(DhConnection *connection, bool elsewhere, DhError *error) {
	return Guard(error, false, [&]() {
		auto mark = connection->statements->Mark(*connection->context, Reach::SESSION);
		SearchAsClient(*connection->context, elsewhere);
		connection->elsewhere = elsewhere;
		return true;
	});
}

} // extern "C"
