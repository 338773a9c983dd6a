#include "stored_files.hpp"

#include "duckdb/common/exception.hpp"
#include "duckdb/common/helper.hpp"
#include "duckdb/common/numeric_utils.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/common/virtual_file_system.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const string SCHEME = "stored://";

//! The name of a path; it is borrowed.
static DhText NameOf(const string &path) {
	if (!StringUtil::StartsWith(path, SCHEME)) {
		throw InternalException("\"%s\" is no path of a stored file", path);
	}
	return DhText {path.data() + SCHEME.size(), path.size() - SCHEME.size()};
}

bool StoredFileName(const string &path, string &name) {
	if (!StringUtil::StartsWith(path, SCHEME)) {
		return false;
	}
	name = path.substr(SCHEME.size());
	return true;
}

class StoredFileHandle : public FileHandle {
public:
	StoredFileHandle(FileSystem &system, const string &path, FileOpenFlags flags, shared_ptr<StoredFiles> files_p,
	                 void *file)
	    : FileHandle(system, path, flags), files(std::move(files_p)), file(file) {
	}
	~StoredFileHandle() override {
		files->table.close(file);
	}

	void Close() override {
	}

	shared_ptr<StoredFiles> files;
	void *const file;
	idx_t position = 0;
};

class StoredFileSystem : public FileSystem {
public:
	explicit StoredFileSystem(shared_ptr<StoredFiles> files_p) : files(std::move(files_p)) {
	}

	unique_ptr<FileHandle> OpenFile(const string &path, FileOpenFlags flags, optional_ptr<FileOpener>) override {
		auto create = flags.CreateFileIfNotExists() || flags.OverwriteExistingFile();
		if (flags.ExclusiveCreate() && FileExists(path, nullptr)) {
			if (flags.ReturnNullIfExists()) {
				return nullptr;
			}
			throw IOException("Cannot create \"%s\": there is such a file", path);
		}
		DhError error {nullptr, nullptr};
		auto file = files->table.open(files->files, NameOf(path), create, flags.OverwriteExistingFile(), &error);
		ThrowIfError(error);
		if (!file) {
			if (flags.ReturnNullIfNotExists()) {
				return nullptr;
			}
			throw IOException("Cannot open \"%s\": there is no such file", path);
		}
		auto handle = make_uniq<StoredFileHandle>(*this, path, flags, files, file);
		if (flags.OpenForAppending()) {
			handle->position = NumericCast<idx_t>(GetFileSize(*handle));
		}
		return std::move(handle);
	}

	void Read(FileHandle &handle, void *buffer, int64_t count, idx_t location) override {
		auto found = ReadSome(handle, buffer, count, location);
		if (found != count) {
			throw IOException("Cannot read %lld bytes at %llu of \"%s\": it has only %lld of them", count, location,
			                  handle.path, found);
		}
	}
	int64_t Read(FileHandle &handle, void *buffer, int64_t count) override {
		auto &position = handle.Cast<StoredFileHandle>().position;
		auto found = ReadSome(handle, buffer, count, position);
		position += NumericCast<idx_t>(found);
		return found;
	}
	void Write(FileHandle &handle_p, void *buffer, int64_t count, idx_t location) override {
		auto &handle = handle_p.Cast<StoredFileHandle>();
		if (count == 0) {
			return;
		}
		DhError error {nullptr, nullptr};
		files->table.write(handle.file, location, static_cast<const uint8_t *>(buffer), NumericCast<uint64_t>(count),
		                   &error);
		ThrowIfError(error);
	}
	int64_t Write(FileHandle &handle, void *buffer, int64_t count) override {
		auto &position = handle.Cast<StoredFileHandle>().position;
		Write(handle, buffer, count, position);
		position += NumericCast<idx_t>(count);
		return count;
	}
	bool Trim(FileHandle &handle, idx_t offset, idx_t count) override {
		DhError error {nullptr, nullptr};
		files->table.trim(handle.Cast<StoredFileHandle>().file, offset, count, &error);
		ThrowIfError(error);
		return true;
	}
	void Truncate(FileHandle &handle, int64_t length) override {
		DhError error {nullptr, nullptr};
		files->table.truncate(handle.Cast<StoredFileHandle>().file, NumericCast<uint64_t>(length), &error);
		ThrowIfError(error);
	}
	void FileSync(FileHandle &handle) override {
		DhError error {nullptr, nullptr};
		files->table.sync(handle.Cast<StoredFileHandle>().file, &error);
		ThrowIfError(error);
	}
	int64_t GetFileSize(FileHandle &handle) override {
		DhError error {nullptr, nullptr};
		auto length = files->table.length(handle.Cast<StoredFileHandle>().file, &error);
		ThrowIfError(error);
		return length;
	}

	bool FileExists(const string &path, optional_ptr<FileOpener>) override {
		DhError error {nullptr, nullptr};
		auto exists = files->table.exists(files->files, NameOf(path), &error);
		ThrowIfError(error);
		return exists == 1;
	}
	bool TryRemoveFile(const string &path, optional_ptr<FileOpener>) override {
		DhError error {nullptr, nullptr};
		auto removed = files->table.remove(files->files, NameOf(path), &error);
		ThrowIfError(error);
		return removed == 1;
	}
	void RemoveFile(const string &path, optional_ptr<FileOpener> opener) override {
		if (!TryRemoveFile(path, opener)) {
			throw IOException("Cannot remove \"%s\": there is no such file", path);
		}
	}
	void MoveFile(const string &source, const string &target, optional_ptr<FileOpener>) override {
		DhError error {nullptr, nullptr};
		files->table.rename(files->files, NameOf(source), NameOf(target), &error);
		ThrowIfError(error);
	}
	vector<OpenFileInfo> Glob(const string &path, FileOpener *) override {
		return FileExists(path, nullptr) ? vector<OpenFileInfo> {OpenFileInfo(path)} : vector<OpenFileInfo> {};
	}

	void Seek(FileHandle &handle, idx_t location) override {
		handle.Cast<StoredFileHandle>().position = location;
	}
	void Reset(FileHandle &handle) override {
		Seek(handle, 0);
	}
	idx_t SeekPosition(FileHandle &handle) override {
		return handle.Cast<StoredFileHandle>().position;
	}
	bool CanSeek() override {
		return true;
	}
	FileType GetFileType(FileHandle &) override {
		return FileType::FILE_TYPE_REGULAR;
	}
	timestamp_t GetLastModifiedTime(FileHandle &) override {
		return timestamp_t::epoch();
	}
	//! What is read once is on the disk, where DuckDB reads what it needs when it needs it.
	bool OnDiskFile(FileHandle &) override {
		return true;
	}
	bool CanHandleFile(const string &path) override {
		return StringUtil::StartsWith(path, SCHEME);
	}
	bool IsPipe(const string &, optional_ptr<FileOpener>) override {
		return false;
	}
	string CanonicalizePath(const string &path, optional_ptr<FileOpener>) override {
		return path;
	}
	string PathSeparator(const string &) override {
		return "/";
	}
	std::string GetName() const override {
		return "StoredFileSystem";
	}

private:
	int64_t ReadSome(FileHandle &handle, void *buffer, int64_t count, idx_t location) {
		if (count == 0) {
			return 0;
		}
		DhError error {nullptr, nullptr};
		auto found = files->table.read(handle.Cast<StoredFileHandle>().file, location, static_cast<uint8_t *>(buffer),
		                               NumericCast<uint64_t>(count), &error);
		ThrowIfError(error);
		return found;
	}

	shared_ptr<StoredFiles> files;
};

static const char *const WAITS = "duckherder_commit_waits";

void CommitWaits::Register(ClientContext &context, const shared_ptr<StoredFiles> &files) {
	if (files) {
		context.registered_state->Insert(WAITS, make_shared_ptr<CommitWaits>(files));
	}
}

shared_ptr<CommitWaits> CommitWaits::Of(ClientContext &context) {
	return context.registered_state->Get<CommitWaits>(WAITS);
}

void CommitWaits::TransactionCommit(MetaTransaction &transaction, ClientContext &context) {
	if (transaction.ModifiedDatabase()) {
		files->WaitDurable(files->Position());
	} else if (seen.IsValid()) {
		files->WaitDurable(seen.GetIndex());
	}
}

unique_ptr<FileSystem> MakeFileSystem(shared_ptr<StoredFiles> files) {
	auto system = make_uniq<VirtualFileSystem>(FileSystem::CreateLocal());
	system->RegisterSubSystem(make_uniq<StoredFileSystem>(std::move(files)));
	return std::move(system);
}

} // namespace duckherder
