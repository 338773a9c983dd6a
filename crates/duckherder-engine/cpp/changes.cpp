#include "changes.hpp"

#include "duckdb/parser/statement/set_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

Reach ReachOf(const SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT: // may draw from a sequence, or insert in a CTE
	case StatementType::INSERT_STATEMENT:
	case StatementType::UPDATE_STATEMENT:
	case StatementType::DELETE_STATEMENT:
	case StatementType::MERGE_INTO_STATEMENT:
	case StatementType::COPY_STATEMENT:
	case StatementType::TRANSACTION_STATEMENT:
		return Reach::ROWS;
	case StatementType::SET_STATEMENT:
		return statement.Cast<SetStatement>().scope == SetScope::SESSION ? Reach::SESSION : Reach::ANYTHING;
	default:
		return Reach::ANYTHING;
	}
}

//! What changes a session's settings concerns that session alone.
static bool MayChangeRows(Reach reach) {
	return reach == Reach::ROWS || reach == Reach::ANYTHING;
}

ChangeMark::ChangeMark(shared_ptr<DatabaseChanges> changes_p, Reach reach_p)
    : changes(std::move(changes_p)), reach(reach_p) {
	if (MayChangeRows(reach)) {
		changes->writers_begun++;
	}
	if (reach == Reach::ANYTHING) {
		changes->generation++;
	}
}

ChangeMark::~ChangeMark() {
	// Again: a plan made in between may have seen either state.
	if (reach == Reach::ANYTHING) {
		changes->generation++;
	}
	if (MayChangeRows(reach)) {
		changes->writers_ended++;
	}
}

} // namespace duckherder
