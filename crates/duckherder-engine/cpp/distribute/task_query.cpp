#include "task_query.hpp"

#include "duckdb/common/serializer/binary_deserializer.hpp"
#include "duckdb/common/serializer/binary_serializer.hpp"
#include "duckdb/common/serializer/memory_stream.hpp"
#include "duckdb/parser/statement/select_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

unique_ptr<SQLStatement> StatementOf(unique_ptr<QueryNode> query) {
	auto statement = make_uniq<SelectStatement>();
	statement->node = std::move(query);
	statement->query = statement->node->ToString();
	statement->stmt_location = QueryLocation(0, statement->query.size());
	return std::move(statement);
}

string WriteQuery(const QueryNode &query) {
	SerializationOptions options;
	// For older ones some of the tree would be left out.
	options.storage_compatibility = StorageCompatibility::Latest();
	MemoryStream stream;
	BinarySerializer::Serialize(query, stream, options);
	return string(const_char_ptr_cast(stream.GetData()), stream.GetPosition());
}

unique_ptr<SQLStatement> ReadQuery(DhText bytes) {
	MemoryStream stream(data_ptr_cast(const_cast<char *>(bytes.data)), bytes.length);
	return StatementOf(BinaryDeserializer::Deserialize<QueryNode>(stream));
}

} // namespace duckherder
