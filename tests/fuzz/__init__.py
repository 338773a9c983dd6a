"""Random single-table queries over random tables, compared with plain DuckDB."""
