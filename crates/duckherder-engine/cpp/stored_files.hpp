// Databases whose files are kept by Rust (src/stored.rs), as DuckDB's file system of paths "stored://NAME".
#pragma once

#include "bridge.hpp"
#include "duckdb/common/file_system.hpp"
#include "duckdb/common/optional_idx.hpp"
#include "duckdb/main/client_context_state.hpp"

extern "C" {

//! The functions of a `StoredFiles` in Rust; mirrored in src/ffi.rs. A result below 0 means that the error is set.
struct DhFilesTable {
	//! A file, or null: there is none, or the error is set.
	void *(*open)(void *files, DhText name, bool create, bool truncate, DhError *error);
	//! 1 if there is such a file, 0 if not.
	int (*exists)(void *files, DhText name, DhError *error);
	//! 1 if it was removed, 0 if there was none.
	int (*remove)(void *files, DhText name, DhError *error);
	int (*rename)(void *files, DhText from, DhText to, DhError *error);
	//! How much was synced so far; rises with every sync.
	uint64_t (*position)(void *files);
	//! Waits until all that was synced up to a position is durable.
	int (*wait_durable)(void *files, uint64_t position, DhError *error);
	//! The last position with which a file of this name has changed; 0 if none has since the files were opened.
	uint64_t (*changed)(void *files, DhText name);
	void (*release)(void *files);

	int64_t (*length)(void *file, DhError *error);
	//! How many bytes there were up to the file's end.
	int64_t (*read)(void *file, uint64_t offset, uint8_t *target, uint64_t count, DhError *error);
	int (*write)(void *file, uint64_t offset, const uint8_t *bytes, uint64_t count, DhError *error);
	int (*trim)(void *file, uint64_t offset, uint64_t count, DhError *error);
	int (*truncate)(void *file, uint64_t length, DhError *error);
	int (*sync)(void *file, DhError *error);
	void (*close)(void *file);
};
}

namespace duckherder {

//! What Rust has given us, released once nobody uses it.
class StoredFiles {
public:
	StoredFiles(DhFilesTable table, void *files) : table(table), files(files) {
	}
	~StoredFiles() {
		table.release(files);
	}
	StoredFiles(const StoredFiles &) = delete;

	uint64_t Position() const {
		return table.position(files);
	}
	uint64_t Changed(const duckdb::string &name) const {
		return table.changed(files, DhText {name.data(), name.size()});
	}
	void WaitDurable(uint64_t position) const {
		DhError error {nullptr, nullptr};
		table.wait_durable(files, position, &error);
		ThrowIfError(error);
	}

	const DhFilesTable table;
	void *const files;
};

//! The file system of DuckDB's configuration, with the files in it.
duckdb::unique_ptr<duckdb::FileSystem> MakeFileSystem(duckdb::shared_ptr<StoredFiles> files);

//! The name of a path in the files; whether it is one.
bool StoredFileName(const duckdb::string &path, duckdb::string &name);

//! A transaction ends once what it has done, and what its statement has seen, is durable. DuckDB's sync of the log does not
//! wait for that, since it holds the lock with which all transactions begin.
class CommitWaits : public duckdb::ClientContextState {
public:
	explicit CommitWaits(duckdb::shared_ptr<StoredFiles> files) : files(std::move(files)) {
	}

	//! Has the transactions of a connection wait, if there are such files.
	static void Register(duckdb::ClientContext &context, const duckdb::shared_ptr<StoredFiles> &files);
	//! Those of a connection, or null.
	static duckdb::shared_ptr<CommitWaits> Of(duckdb::ClientContext &context);

	void TransactionCommit(duckdb::MetaTransaction &transaction, duckdb::ClientContext &context) override;

	const duckdb::shared_ptr<StoredFiles> files;
	//! What the statement that runs may have seen, once it has its snapshot. Other transactions only look things up.
	duckdb::optional_idx seen;
};

} // namespace duckherder
