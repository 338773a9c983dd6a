"""States of aggregates (`EXPORT_STATE`): as they come to the client, and what becomes of them on the driver."""

from __future__ import annotations

from harness.client import attached, plain
from harness.cluster import Cluster

QUERIES = [
    "SELECT g, sum(i) EXPORT_STATE AS s FROM dh.t GROUP BY g ORDER BY g",
    "SELECT max(i) EXPORT_STATE AS s, count(*) EXPORT_STATE FROM dh.t",
    "SELECT g, finalize(s) FROM dh.v ORDER BY g",
    "SELECT finalize(combine_aggr(s)) FROM dh.v",
    "SELECT g, finalize(combine(s, s)) FROM (SELECT g, sum(i) EXPORT_STATE AS s FROM dh.t GROUP BY g) ORDER BY g",
]


def test_states():
    with Cluster(local_workers=2) as cluster, attached(cluster) as con, plain() as oracle:
        for client in (con, oracle):
            client.execute("CREATE TABLE dh.t AS SELECT i::INTEGER i, i % 3 g FROM range(3000) r(i)")
            client.execute("CREATE VIEW dh.v AS SELECT g, sum(i) EXPORT_STATE AS s FROM dh.t GROUP BY g")
        con.execute("SET duckherder_min_split_rows = 1000")
        for distribution in ("never", "always"):
            con.execute(f"SET duckherder_distribution = '{distribution}'")
            for query in QUERIES:
                assert con.execute(query).fetchall() == oracle.execute(query).fetchall(), query
