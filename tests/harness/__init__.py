"""What the tests share: processes of Duckherder, clients in stock DuckDB, comparison with plain DuckDB."""
