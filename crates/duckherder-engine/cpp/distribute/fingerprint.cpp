#include "fingerprint.hpp"

#include "duckdb/common/render_tree.hpp"
#include "duckdb/common/types/hash.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static hash_t HashOf(const string &text) {
	return Hash(text.data(), text.size());
}

//! How often it can be halved.
static uint64_t Magnitude(idx_t rows) {
	uint64_t magnitude = 0;
	for (; rows > 0; rows /= 2) {
		magnitude++;
	}
	return magnitude;
}

hash_t Fingerprint(const LogicalOperator &root) {
	auto hash = Hash(static_cast<uint64_t>(root.type));
	auto add = [&](hash_t other) {
		hash = CombineHash(hash, other);
	};
	if (root.has_estimated_cardinality) {
		add(Hash(Magnitude(root.estimated_cardinality)));
	}
	for (auto &param : root.ParamsToString()) {
		if (param.first != RenderTreeNode::ESTIMATED_CARDINALITY) {
			add(HashOf(param.first));
			add(HashOf(param.second));
		}
	}
	// Above, an alias stands for what it names.
	LogicalOperatorVisitor::EnumerateExpressions(
	    root, [&](const unique_ptr<Expression> *expression) { add(HashOf((*expression)->ToString())); });
	for (auto &child : root.children) {
		add(Fingerprint(*child));
	}
	return hash;
}

} // namespace duckherder
