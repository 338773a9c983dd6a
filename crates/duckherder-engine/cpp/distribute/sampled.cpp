#include "sampled.hpp"

#include "wire_type.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/table_function_catalog_entry.hpp"
#include "duckdb/common/multi_file/table_function_multi_file.hpp"
#include "duckdb/function/table/read_csv.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "json_scan.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

namespace {

//! The fields of a STRUCT, by name.
class Fields {
public:
	explicit Fields(const Value &value) : value(value) {
	}

	const Value &operator[](const char *name) const {
		return StructValue::GetChildren(value).at(StructType::GetChildIndexUnsafe(value.type(), name));
	}
	template <class T>
	T Get(const char *name) const {
		return (*this)[name].GetValue<T>();
	}
	template <class T>
	vector<T> List(const char *name) const {
		vector<T> items;
		for (auto &item : ListValue::GetChildren((*this)[name])) {
			items.push_back(item.GetValue<T>());
		}
		return items;
	}
	vector<Identifier> Names(const char *name) const {
		auto texts = List<string>(name);
		return vector<Identifier>(texts.begin(), texts.end());
	}
	vector<LogicalType> Types(ClientContext &context, const char *name) const {
		vector<LogicalType> types;
		for (auto &text : List<string>(name)) {
			types.push_back(ParseWireType(context, text));
		}
		return types;
	}

private:
	const Value &value;
};

template <class T>
Value Texts(const vector<T> &items, const std::function<string(const T &)> &text) {
	vector<Value> values;
	for (auto &item : items) {
		values.emplace_back(text(item));
	}
	return Value::LIST(LogicalType::VARCHAR, std::move(values));
}

Value Texts(const vector<string> &items) {
	return Texts<string>(items, [](const string &item) { return item; });
}
Value Texts(const vector<Identifier> &items) {
	return Texts<Identifier>(items, [](const Identifier &item) { return item.GetIdentifierName(); });
}
Value Texts(const vector<LogicalType> &items) {
	return Texts<LogicalType>(items, [](const LogicalType &item) { return WireTypeName(item); });
}

Value Booleans(const vector<bool> &items) {
	vector<Value> values;
	for (auto item : items) {
		values.push_back(Value::BOOLEAN(item));
	}
	return Value::LIST(LogicalType::BOOLEAN, std::move(values));
}


//! The data of a single file that is told its columns, so that nobody looks for one: of DuckDB's own class, to be filled with
//! what a sample has told.
unique_ptr<FunctionData> BindNoFile(ClientContext &context, const TableFunction &function, named_argument_map_t parameters) {
	parameters[Identifier("columns")] = Value::STRUCT({{Identifier("any"), Value("VARCHAR")}});
	vector<Value> inputs {Value("unread")};
	function.GetSignature().FillNamedDefaults(context, parameters);
	vector<LogicalType> no_types;
	vector<Identifier> no_names;
	TableFunctionRef ref;
	BoundTableFunction bound(function);
	TableFunctionBindInput input(inputs, parameters, no_types, no_names, function.function_info.get(), nullptr, bound, ref);
	vector<LogicalType> bound_types;
	vector<Identifier> bound_names;
	return function.bind(context, input, bound_types, bound_names);
}

//! Text with separators: what the sniffer finds out is the dialect and the columns.
struct Csv {
	static bool Reads(const Identifier &function) {
		return function == "read_csv" || function == "read_csv_auto";
	}

	static child_list_t<Value> Write(const ReadCSVData &data) {
		auto &options = data.options;
		auto &dialect = options.dialect_options;
		auto &machine = dialect.state_machine_options;
		auto &schema = data.csv_schema;
		child_list_t<Value> fields;
		auto add = [&](const char *name, Value value) { fields.emplace_back(Identifier(name), std::move(value)); };
		auto character = [](char value) { return Value::UTINYINT(static_cast<uint8_t>(value)); };
		add("delimiter", Value(machine.delimiter.GetValue()));
		add("quote", character(machine.quote.GetValue()));
		add("escape", character(machine.escape.GetValue()));
		add("comment", character(machine.comment.GetValue()));
		add("new_line", Value::UTINYINT(static_cast<uint8_t>(machine.new_line.GetValue())));
		add("header", Value::BOOLEAN(dialect.header.GetValue()));
		add("skipped_rows", Value::UBIGINT(dialect.skip_rows.GetValue()));
		add("rows_until_header", Value::UBIGINT(dialect.rows_until_header));
		add("width", Value::UBIGINT(dialect.num_cols));
		add("date", Value(dialect.date_format.at(LogicalTypeId::DATE).GetValue().format_specifier));
		add("timestamp", Value(dialect.date_format.at(LogicalTypeId::TIMESTAMP).GetValue().format_specifier));
		add("set_types", Booleans(options.was_type_manually_set));
		add("mismatch", Value(options.sniffer_user_mismatch_error));
		add("file_names", Texts(schema.GetNames()));
		add("file_types", Texts(schema.GetTypes()));
		add("file", Value(schema.GetPath()));
		add("rows", Value::UBIGINT(schema.GetRowsRead()));
		add("is_empty", Value::BOOLEAN(schema.IsEmptyFile()));
		return fields;
	}

	static void SetFormat(CSVOption<StrpTimeFormat> &option, const string &specifier) {
		StrpTimeFormat format;
		if (!specifier.empty()) {
			auto error = StrTimeFormat::ParseFormatSpecifier(specifier, format);
			if (!error.empty()) {
				throw IOException("the sample of files has the format \"%s\": %s", specifier, error);
			}
		}
		option.Set(format, false);
	}

	//! The user's options, with what was found out beside them.
	static CSVReaderOptions Options(ClientContext &context, const named_argument_map_t &parameters, const Fields &sample) {
		CSVReaderOptions options;
		for (auto &parameter : parameters) {
			options.ParseOption(context, parameter.first, parameter.second);
		}
		auto &dialect = options.dialect_options;
		auto &machine = dialect.state_machine_options;
		auto character = [&](const char *name) { return static_cast<char>(sample.Get<uint8_t>(name)); };
		machine.delimiter.Set(sample.Get<string>("delimiter"), false);
		machine.quote.Set(character("quote"), false);
		machine.escape.Set(character("escape"), false);
		machine.comment.Set(character("comment"), false);
		machine.new_line.Set(static_cast<NewLineIdentifier>(sample.Get<uint8_t>("new_line")), false);
		dialect.header.Set(sample.Get<bool>("header"), false);
		dialect.skip_rows.Set(sample.Get<uint64_t>("skipped_rows"), false);
		dialect.rows_until_header = sample.Get<uint64_t>("rows_until_header");
		dialect.num_cols = sample.Get<uint64_t>("width");
		SetFormat(dialect.date_format[LogicalTypeId::DATE], sample.Get<string>("date"));
		SetFormat(dialect.date_format[LogicalTypeId::TIMESTAMP], sample.Get<string>("timestamp"));
		options.was_type_manually_set = sample.List<bool>("set_types");
		options.sniffer_user_mismatch_error = sample.Get<string>("mismatch");
		return options;
	}

	//! Whether both say the same of a file.
	static bool Agree(const CSVReaderOptions &a, const CSVReaderOptions &b) {
		return a.ToString(String::Reference("file", 4)) == b.ToString(String::Reference("file", 4)) &&
		       a.dialect_options.state_machine_options == b.dialect_options.state_machine_options &&
		       a.auto_detect == b.auto_detect && a.name_list == b.name_list && a.sql_type_list == b.sql_type_list &&
		       a.columns_set == b.columns_set && a.null_str == b.null_str;
	}

	static unique_ptr<FunctionData> Make(ClientContext &context, const TableFunction &function,
	                                     const named_argument_map_t &parameters, const Fields &sample) {
		auto file_names = sample.Names("file_names");
		auto file_types = sample.Types(context, "file_types");
		named_argument_map_t unread;
		unread[Identifier("auto_detect")] = Value::BOOLEAN(false);
		auto result = BindNoFile(context, function, std::move(unread));
		auto &data = result->Cast<ReadCSVData>();
		data.options = Options(context, parameters, sample);
		data.csv_schema = CSVSchema(file_names, file_types, sample.Get<string>("file"), sample.Get<uint64_t>("rows"),
		                            sample.Get<bool>("is_empty"));
		return result;
	}
};

//! JSON: the columns, how records are found, and how dates are written.
struct Json {
	static vector<string> Formats(const JSONScanData &data, LogicalTypeId type) {
		vector<string> specifiers;
		if (data.date_format_map->HasFormats(type)) {
			for (auto &format : data.date_format_map->GetFormats(type)) {
				specifiers.push_back(format.format_specifier);
			}
		}
		return specifiers;
	}

	static child_list_t<Value> Write(const JSONScanData &data) {
		vector<bool> properties;
		vector<string> keys;
		for (auto &feature : data.feature_columns) {
			properties.push_back(feature.from_properties);
			keys.push_back(feature.key);
		}
		child_list_t<Value> fields;
		auto add = [&](const char *name, Value value) { fields.emplace_back(Identifier(name), std::move(value)); };
		add("records", Value::UTINYINT(static_cast<uint8_t>(data.options.record_type)));
		add("geojson", data.options.geojson ? Value::BOOLEAN(*data.options.geojson) : Value(LogicalType::BOOLEAN));
		add("keys", Texts(data.key_names));
		add("features", Texts(keys));
		add("of_properties", Booleans(properties));
		add("date", Texts(Formats(data, LogicalTypeId::DATE)));
		add("timestamp", Texts(Formats(data, LogicalTypeId::TIMESTAMP)));
		return fields;
	}

	static unique_ptr<FunctionData> Make(ClientContext &context, const TableFunction &function, const Fields &sample) {
		named_argument_map_t unread;
		unread[Identifier("records")] = Value("false");
		auto result = BindNoFile(context, function, std::move(unread));
		auto &data = result->Cast<JSONScanData>();
		data.options.record_type = static_cast<JSONRecordType>(sample.Get<uint8_t>("records"));
		data.options.geojson.reset();
		if (!sample["geojson"].IsNull()) {
			data.options.geojson = sample.Get<bool>("geojson");
		}
		data.key_names = sample.List<string>("keys");
		data.feature_columns.clear();
		auto keys = sample.List<string>("features");
		auto of_properties = sample.List<bool>("of_properties");
		for (idx_t i = 0; i < keys.size(); i++) {
			data.feature_columns.push_back(JSONFeatureColumn {of_properties.at(i), keys[i]});
		}
		type_id_map_t<vector<StrpTimeFormat>> formats;
		for (auto &format : sample.List<string>("date")) {
			DateFormatMap::AddFormat(formats, LogicalTypeId::DATE, format);
		}
		for (auto &format : sample.List<string>("timestamp")) {
			DateFormatMap::AddFormat(formats, LogicalTypeId::TIMESTAMP, format);
		}
		data.date_format_map = make_uniq<DateFormatMap>(std::move(formats));
		return result;
	}
};

//! Binds the files of a scan as if it had sampled them.
class SampledFiles : public TableFunctionMultiFileWrapper {
public:
	SampledFiles(const TableFunctionMultiFileInfo &wrapped, const FileCall &call)
	    : TableFunctionMultiFileWrapper(wrapped.function, wrapped.settings), call(call) {
	}

	void BindReader(ClientContext &context, vector<LogicalType> &return_types, vector<Identifier> &names,
	                MultiFileBindData &bind_data) override {
		Fields sample(call.sample);
		auto &options = bind_data.bind_data->Cast<TableFunctionMultiFileData>().options;
		names = sample.Names("names");
		return_types = sample.Types(context, "types");
		options.multi_file_scan = call.paths.size() > 1;
		options.expected_names = names;
		options.expected_types = return_types;
		options.schema_bind_data = Csv::Reads(call.function)
		                               ? Csv::Make(context, function, options.named_parameters, sample)
		                               : Json::Make(context, function, sample);
		bind_data.multi_file_reader->BindOptions(bind_data.file_options, *bind_data.file_list, return_types, names,
		                                         bind_data.reader_bind);
	}

private:
	const FileCall &call;
};

} // namespace

Value ExactFiles(const vector<string> &paths) {
	vector<Value> files;
	for (auto &path : paths) {
		files.push_back(Value::STRUCT({{OpenFileInfo::PATH_FIELD, Value(path)}}));
	}
	auto type = LogicalType::STRUCT({{OpenFileInfo::PATH_FIELD, LogicalType::VARCHAR}});
	return Value::LIST(type, std::move(files));
}

Value WriteSample(ClientContext &context, const MultiFileBindData &data) {
	auto files = dynamic_cast<TableFunctionMultiFileData *>(data.bind_data.get());
	if (!files || !files->HasExpectedSchema() || !files->options.schema_bind_data) {
		return Value();
	}
	auto &options = files->options;
	child_list_t<Value> fields;
	if (auto csv = dynamic_cast<const ReadCSVData *>(options.schema_bind_data.get())) {
		if (csv->csv_schema.Empty() || !csv->options.auto_detect) {
			return Value();
		}
		fields = Csv::Write(*csv);
		auto written = Value::STRUCT(fields);
		// What is not known here would be lost there.
		if (!Csv::Agree(csv->options, Csv::Options(context, options.named_parameters, Fields(written)))) {
			return Value();
		}
	} else if (auto json = dynamic_cast<const JSONScanData *>(options.schema_bind_data.get())) {
		if (json->options.type != JSONScanType::READ_JSON || options.expected_names.empty()) {
			return Value();
		}
		fields = Json::Write(*json);
	} else {
		return Value();
	}
	fields.emplace_back(Identifier("names"), Texts(options.expected_names));
	fields.emplace_back(Identifier("types"), Texts(options.expected_types));
	return Value::STRUCT(std::move(fields));
}

BoundScan BindSampled(Binder &binder, const FileCall &call) {
	auto &context = binder.context;
	QualifiedName name(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), call.function);
	EntryLookupInfo lookup(CatalogType::TABLE_FUNCTION_ENTRY, name);
	auto entry = Catalog::GetEntry(context, lookup, OnEntryNotFound::THROW_EXCEPTION);
	BoundTableFunction function(*entry->Cast<TableFunctionCatalogEntry>().functions.functions.at(0));
	vector<Value> inputs {ExactFiles(call.paths)};
	named_argument_map_t parameters;
	for (auto &option : call.options) {
		if (!option.second.IsNull()) {
			parameters[option.first] = option.second;
		}
	}
	function.GetSignature().FillNamedDefaults(context, parameters);
	function.SetCallArguments(inputs, parameters);
	vector<LogicalType> no_types;
	vector<Identifier> no_names;
	TableFunctionRef ref;
	TableFunctionBindInput input(inputs, parameters, no_types, no_names, function.function_info.get(), &binder, function,
	                             ref);
	vector<LogicalType> types;
	vector<Identifier> names;
	auto data = MultiFileFunction<TableFunctionMultiFileWrapper>::MultiFileBindInterface(
	    context, input, types, names,
	    make_uniq<SampledFiles>(function.function_info->Cast<TableFunctionMultiFileInfo>(), call));
	auto virtual_columns =
	    function.get_virtual_columns ? function.get_virtual_columns(context, data.get()) : virtual_column_map_t();
	return BoundScan {function, std::move(data), std::move(types), std::move(names), std::move(virtual_columns)};
}

} // namespace duckherder
