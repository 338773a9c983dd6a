"""EXPORT DATABASE of a driver's database."""

from __future__ import annotations

import threading

import duckdb
import pytest

from harness.client import attached, plain, quote
from harness.cluster import Cluster


def test_a_table_that_refers_to_itself(tmp_path):
    said = []
    with Cluster(local_workers=0) as cluster, attached(cluster) as con, plain() as oracle:
        for name, client in (("driver", con), ("plain", oracle)):
            client.execute("CREATE TABLE dh.tree (id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree(id))")
            client.execute("INSERT INTO dh.tree VALUES (1, NULL)")
            client.execute("USE dh")
            stop = threading.Timer(30, client.interrupt)
            stop.start()
            with pytest.raises(duckdb.BinderException, match="self-referencing foreign key") as error:
                client.execute(f"EXPORT DATABASE {quote(tmp_path / name)}")
            stop.cancel()
            said.append(str(error.value))
    assert said[0] == said[1]
