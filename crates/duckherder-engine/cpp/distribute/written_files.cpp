#include "written_files.hpp"

#include "duckdb/common/types/uuid.hpp"
#include "duckdb/execution/operator/persistent/copy_output_lifecycle.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! What the directory is called in which files are before all of them are there. (Nobody who reads `*.parquet`, or any
//! file that is not hidden, sees it.)
static const char *const UNFINISHED = ".duckherder-";
//! The end of that name when tasks may write no more.
static const char *const ABANDONED = "-ended";

FileNames::FileNames(const LogicalCopyToFile &copy)
    : directory(copy.file_path), pattern(copy.filename_pattern), extension(copy.file_extension),
      overwrite(copy.overwrite_mode), returns(copy.return_type) {
}

//! What one task has written.
struct TaskFiles {
	int64_t rows;
	vector<string> paths;
};

//! The directory of one COPY TO, and the one inside of it that tasks write to. What is left when this ends is removed: all
//! of it, unless the files have been published.
class OutputDirectory {
public:
	OutputDirectory(ClientContext &context, const FileNames &names);
	~OutputDirectory();

	//! Gives the tasks' files, in order, their names. Returns these.
	vector<string> Publish(const vector<TaskFiles> &tasks);

	//! Where tasks write; absolute.
	string unfinished;

private:
	//! As DuckDB's own COPY TO before it writes (`CopyToFileGlobalState::PrepareOutputDirectory`).
	void Prepare();
	vector<string> FilesBelow(const string &directory);
	//! The part of a task's path that is a partition's.
	string PartitionOf(const string &path);
	//! Makes what is missing of the directory `path`, relative to the target.
	string Subdirectory(const string &path);
	void Clean();

	FileSystem &fs;
	FileNames names;
	//! Removes what was made, if it was not a success.
	CopyOutputLifecycle outputs;
	//! Of `unfinished`, in the target.
	string own_name;
	//! What OVERWRITE replaces.
	vector<string> replaced;
};

OutputDirectory::OutputDirectory(ClientContext &context, const FileNames &names_p)
    : fs(FileSystem::GetFileSystem(context)), names(names_p), outputs(context),
      own_name(UNFINISHED + UUID::ToString(UUID::GenerateRandomUUID())) {
	Prepare();
	auto path = fs.JoinPath(AbsolutePath(context, names.directory), own_name);
	fs.CreateDirectory(path);
	unfinished = std::move(path);
}

OutputDirectory::~OutputDirectory() {
	try {
		Clean();
	} catch (...) { // NOLINT
	}
}

vector<string> OutputDirectory::FilesBelow(const string &directory) {
	vector<string> files;
	vector<string> directories {directory};
	for (idx_t i = 0; i < directories.size(); i++) {
		auto parent = directories[i];
		fs.ListFiles(parent, [&](const string &name, bool is_directory) {
			(is_directory ? directories : files).push_back(fs.JoinPath(parent, name));
		});
	}
	return files;
}

void OutputDirectory::Prepare() {
	auto &directory = names.directory;
	auto replaces = names.overwrite == CopyOverwriteMode::COPY_OVERWRITE;
	if (fs.FileExists(directory)) {
		if (!replaces) {
			throw IOException("Cannot write to \"%s\" - it exists and is a file, not a directory! Enable "
			                  "OVERWRITE option to overwrite the file",
			                  directory);
		}
		fs.RemoveFile(directory);
	}
	if (!fs.DirectoryExists(directory) && fs.CreateDirectoryExtended(directory, {CreateDirectoryMode::SINGLE})) {
		outputs.RegisterCreatedDirectory(directory);
		return;
	}
	if (names.overwrite != CopyOverwriteMode::COPY_ERROR_ON_CONFLICT && !replaces) {
		return;
	}
	auto files = FilesBelow(directory);
	if (replaces) {
		replaced = std::move(files);
	} else if (!files.empty()) {
		throw IOException("Directory \"%s\" is not empty! Enable OVERWRITE option to overwrite files", directory);
	}
}

string OutputDirectory::Subdirectory(const string &path) {
	auto directory = names.directory;
	for (auto &component : StringUtil::Split(path, fs.PathSeparator(path))) {
		if (component.empty()) {
			continue;
		}
		directory = fs.JoinPath(directory, component);
		if (!fs.DirectoryExists(directory) && fs.CreateDirectoryExtended(directory, {CreateDirectoryMode::SINGLE})) {
			outputs.RegisterCreatedDirectory(directory);
		}
	}
	return directory;
}

string OutputDirectory::PartitionOf(const string &path) {
	auto separator = fs.PathSeparator(path);
	auto own = path.find(own_name + separator);
	if (own == string::npos) {
		throw IOException("a task has written to \"%s\", which is not in \"%s\"", path, unfinished);
	}
	// The task's own file, or directory of files.
	auto inside = path.substr(own + own_name.size() + separator.size());
	auto task_end = inside.find(separator);
	if (task_end == string::npos) {
		return string();
	}
	auto file_begin = inside.rfind(separator);
	return file_begin == task_end ? string() : inside.substr(task_end + 1, file_begin - task_end - 1);
}

vector<string> OutputDirectory::Publish(const vector<TaskFiles> &tasks) {
	auto any_rows = std::any_of(tasks.begin(), tasks.end(), [](const TaskFiles &task) { return task.rows > 0; });
	vector<string> sources;
	for (auto &task : tasks) {
		// As a thread of DuckDB's: without rows it has no file, unless there are no rows at all.
		if (task.rows > 0 || (!any_rows && sources.empty())) {
			sources.insert(sources.end(), task.paths.begin(), task.paths.end());
		}
	}
	// Each of them is there, before any old file goes.
	for (auto &source : sources) {
		if (!fs.FileExists(source)) {
			throw IOException("a task has written \"%s\", which the driver does not see", source);
		}
	}
	fs.RemoveFiles(replaced);
	vector<string> published;
	map<string, idx_t> next;
	for (auto &source : sources) {
		auto partition = PartitionOf(source);
		auto directory = Subdirectory(partition);
		auto target = names.pattern.CreateFilename(fs, directory, names.extension, next[partition]++);
		outputs.RegisterFile(target);
		fs.MoveFile(source, target);
		published.push_back(target);
	}
	Clean();
	outputs.MarkSuccessful();
	return published;
}

void OutputDirectory::Clean() {
	if (unfinished.empty()) {
		return;
	}
	// Under another name, so that no task that still runs makes another file in it.
	auto abandoned = unfinished + ABANDONED;
	auto gone = std::move(unfinished);
	unfinished = string();
	fs.MoveFile(gone, abandoned);
	fs.RemoveDirectory(abandoned);
}

//! The tasks of one COPY TO, and its directory.
class RunningWrite : public RunningExchange {
public:
	using RunningExchange::RunningExchange;
	~RunningWrite() override {
		// First the tasks, then what they have written.
		Stop();
	}

	unique_ptr<OutputDirectory> output;
	ExchangeReader reader;
	//! What `reader` fills.
	DataChunk received;
	vector<TaskFiles> tasks;
	int64_t rows = 0;
};

LogicalWrite::LogicalWrite(shared_ptr<DistributedQuery> query_p, idx_t stage_p, LogicalCopyToFile &copy)
    : query(std::move(query_p)), stage(stage_p), names(copy), bindings(copy.GetColumnBindings()),
      column_types(GetCopyFunctionReturnLogicalTypes(copy.return_type)) {
	types = column_types;
	SetEstimatedCardinality(1);
}

static const string WRITE_IDENTIFIER = "duckherder.write";

optional_ptr<const string> LogicalWrite::GetTypeBindingVerificationIdentifier() const noexcept {
	return &WRITE_IDENTIFIER;
}

InsertionOrderPreservingMap<string> LogicalWrite::ParamsToString() const {
	return query->Describe(stage);
}

PhysicalOperator &LogicalWrite::CreatePlan(ClientContext &, PhysicalPlanGenerator &generator) {
	return generator.Make<PhysicalWrite>(query, stage, column_types, names);
}

PhysicalWrite::PhysicalWrite(PhysicalPlan &plan, shared_ptr<DistributedQuery> query_p, idx_t stage_p,
                             vector<LogicalType> types, FileNames names_p)
    : PhysicalExchange(plan, std::move(query_p), stage_p, std::move(types), 1), names(std::move(names_p)) {
}

unique_ptr<GlobalSourceState> PhysicalWrite::GetGlobalSourceState(ClientContext &context) const {
	auto state = make_uniq<RunningWrite>(query, stage);
	state->received.Initialize(context, WrittenTypes());
	return std::move(state);
}

//! Takes note of what a task has written.
static void Take(RunningWrite &write) {
	for (idx_t row = 0; row < write.received.size(); row++) {
		auto rows = write.received.GetValue(0, row).GetValue<int64_t>();
		auto list = write.received.GetValue(1, row);
		vector<string> paths;
		for (auto &path : ListValue::GetChildren(list)) {
			paths.push_back(StringValue::Get(path));
		}
		write.rows += rows;
		write.tasks.push_back({rows, std::move(paths)});
	}
}

SourceResultType PhysicalWrite::GetDataInternal(ExecutionContext &context, DataChunk &output,
                                                OperatorSourceInput &input) const {
	auto &write = input.global_state.Cast<RunningWrite>();
	if (!write.output) {
		write.output = make_uniq<OutputDirectory>(context.client, names);
		write.directory = write.output->unfinished;
	}
	auto started = write.Start(context.client, input.interrupt_state);
	if (started != SourceResultType::HAVE_MORE_OUTPUT) {
		return started;
	}
	while (true) {
		write.received.Reset();
		auto found = write.reader.Read(context.client, write, input.interrupt_state, write.received);
		if (found == SourceResultType::BLOCKED) {
			return found;
		}
		if (found == SourceResultType::HAVE_MORE_OUTPUT) {
			Take(write);
			continue;
		}
		auto next = write.next_partition++;
		if (next >= write.partitions) {
			break;
		}
		write.reader.Open(next);
	}
	ShowTasks(context, write);
	if (write.tasks.size() != write.partitions) {
		throw IOException("%d of %d tasks have told what they have written", write.tasks.size(), write.partitions);
	}
	auto files = write.output->Publish(write.tasks);
	output.data[0].Append(Value::BIGINT(write.rows));
	if (names.returns == CopyFunctionReturnType::CHANGED_ROWS_AND_FILE_LIST) {
		vector<Value> list(files.begin(), files.end());
		output.data[1].Append(Value::LIST(LogicalType::VARCHAR, std::move(list)));
	}
	return SourceResultType::FINISHED;
}

} // namespace duckherder
