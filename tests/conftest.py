"""Clusters for the tests: started once a module, on free ports, stopped whatever happens."""

from __future__ import annotations

import itertools

import duckdb
import pytest

from harness.client import attach, attached, loaded
from harness.cluster import Cluster

_names = itertools.count(1)


@pytest.fixture(scope="module")
def local_cluster():
    """A driver with four workers in its own process."""
    with Cluster(local_workers=4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def remote_cluster():
    """A driver with two workers in processes of their own."""
    with Cluster(remote_workers=2) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=["local", "remote"])
def any_cluster(request):
    """Both kinds, one after the other."""
    return request.getfixturevalue(f"{request.param}_cluster")


@pytest.fixture
def con(local_cluster):
    """A client of `local_cluster`."""
    connection = loaded()
    attach(connection, local_cluster)
    yield connection
    connection.close()


@pytest.fixture
def client(cluster):
    """A client of the module's own `cluster`, whose queries are distributed always."""
    with attached(cluster) as connection:
        connection.execute("SET duckherder_distribution = 'always'")
        yield connection


@pytest.fixture
def oracle():
    """Plain DuckDB with an empty database called `dh`."""
    connection = duckdb.connect()
    connection.execute("ATTACH ':memory:' AS dh")
    yield connection
    connection.close()


@pytest.fixture
def table_name():
    """A name that no other test of the run uses."""
    return f"t{next(_names)}"
