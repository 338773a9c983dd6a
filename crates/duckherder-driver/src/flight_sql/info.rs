//! What the driver tells of itself: SQL info and type info.

use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, SqlSupportedTransaction, XdbcDataType};

use super::arrow_error;
use crate::error::Result;

/// The answers to `GetSqlInfo`.
///
/// # Errors
/// Arrow's.
pub fn sql_info() -> Result<SqlInfoData> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Duckherder");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::Transaction as i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, true);
    info.append(SqlInfo::SqlDdlCatalog, true);
    info.append(SqlInfo::SqlDdlSchema, true);
    info.append(SqlInfo::SqlDdlTable, true);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlTransactionsSupported, true);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlBatchUpdatesSupported, true);
    info.append(SqlInfo::SqlSavepointsSupported, false);
    info.append(SqlInfo::SqlCatalogTerm, "database");
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.build().map_err(arrow_error)
}

/// DuckDB's types in the words of ODBC and JDBC: name, ODBC type, size, prefix and suffix of a literal.
const TYPES: [(&str, XdbcDataType, i32, Option<&str>, bool); 17] = [
    ("BOOLEAN", XdbcDataType::XdbcBit, 1, None, false),
    ("TINYINT", XdbcDataType::XdbcTinyint, 3, None, false),
    ("SMALLINT", XdbcDataType::XdbcSmallint, 5, None, false),
    ("INTEGER", XdbcDataType::XdbcInteger, 10, None, false),
    ("BIGINT", XdbcDataType::XdbcBigint, 19, None, false),
    ("UTINYINT", XdbcDataType::XdbcTinyint, 3, None, true),
    ("USMALLINT", XdbcDataType::XdbcSmallint, 5, None, true),
    ("UINTEGER", XdbcDataType::XdbcInteger, 10, None, true),
    ("UBIGINT", XdbcDataType::XdbcBigint, 20, None, true),
    ("FLOAT", XdbcDataType::XdbcReal, 7, None, false),
    ("DOUBLE", XdbcDataType::XdbcDouble, 15, None, false),
    ("DECIMAL", XdbcDataType::XdbcDecimal, 38, None, false),
    ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX, Some("'"), false),
    ("BLOB", XdbcDataType::XdbcVarbinary, i32::MAX, Some("'"), false),
    ("DATE", XdbcDataType::XdbcDate, 10, Some("'"), false),
    ("TIME", XdbcDataType::XdbcTime, 15, Some("'"), false),
    ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 26, Some("'"), false),
];

/// The answers to `GetXdbcTypeInfo`.
///
/// # Errors
/// Arrow's.
pub fn type_info() -> Result<XdbcTypeInfoData> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, quote, unsigned) in TYPES {
        let number = matches!(
            data_type,
            XdbcDataType::XdbcTinyint
                | XdbcDataType::XdbcSmallint
                | XdbcDataType::XdbcInteger
                | XdbcDataType::XdbcBigint
                | XdbcDataType::XdbcReal
                | XdbcDataType::XdbcDouble
                | XdbcDataType::XdbcDecimal
        );
        builder.append(XdbcTypeInfo {
            type_name: name.to_string(),
            data_type,
            column_size: Some(size),
            literal_prefix: quote.map(str::to_string),
            literal_suffix: quote.map(str::to_string),
            create_params: (name == "DECIMAL").then(|| vec!["precision".to_string(), "scale".to_string()]),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: name == "VARCHAR",
            searchable: Searchable::Full,
            unsigned_attribute: number.then_some(unsigned),
            fixed_prec_scale: false,
            auto_increment: Some(false),
            local_type_name: Some(name.to_string()),
            minimum_scale: (name == "DECIMAL").then_some(0),
            maximum_scale: (name == "DECIMAL").then_some(38),
            sql_data_type: data_type,
            datetime_subcode: None,
            num_prec_radix: number.then_some(10),
            interval_precision: None,
        });
    }
    builder.build().map_err(arrow_error)
}
