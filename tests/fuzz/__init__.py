"""Random queries over random tables, one or several, compared with plain DuckDB."""
