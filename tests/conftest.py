"""Clusters for the tests: started once a module, on free ports, stopped whatever happens."""

from __future__ import annotations

import itertools
import re

import duckdb
import pytest

from harness.client import attach, attached, loaded
from harness.cluster import Cluster

_names = itertools.count(1)
# the kind of cluster among a test's parameters
_KIND = re.compile(r"[\[-]((?:local|remote|mixed)(?:-\d)?)[\]-]")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests that share a cluster run in one process, which starts it and fills its tables once. They begin in the order of
    `testpaths`: what takes minutes first, and SQL files, which take seconds, last, so that all processes end together."""
    from xdist.scheduler import LoadScopeScheduling

    class ByCluster(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            if not file.startswith("e2e/"):
                return nodeid
            kind = _KIND.search(nodeid)
            return f"{file} {kind.group(1)}" if kind else file

        def _reschedule(self, node) -> None:
            # A process has to know the next test, and no more: another one may be idle sooner.
            if node.shutting_down or self._pending_of(self.assigned_work[node]) <= 1:
                super()._reschedule(node)

    config.option.loadscopereorder = False
    return ByCluster(config, log)


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
