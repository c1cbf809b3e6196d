"""Every test that is a coroutine runs on the virtual-time loop, over real loopback HTTP."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from itertools import chain, groupby, zip_longest
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

pytest.register_assert_rewrite(
    "tests.support.nginx",
    *(f"tests.fault_matrix.{name}" for name in ("scene", "disruptions", "keys", "departures")),
)


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks for its profile
def pytest_configure(config: pytest.Config) -> None:
    """Let signals reach the tests' processes, where a shell or `nohup` has this one ignore them.

    Where the tests run in processes of their own, this one does without the tests' imports.
    None of the processes loads the system's authorities: no test trusts them, and `import aiohttp`
    takes a fifth longer with them.
    """
    os.environ["SSL_CERT_FILE"] = os.devnull
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses")
    if runs_tests or config.getoption("--hypothesis-profile"):
        _register_profiles()
    else:
        config.pluginmanager.unregister(name="hypothesispytest")  # imports it for its summary


def _register_profiles() -> None:
    """Have the suite draw the same few examples in each run, so that its verdict is the same.

    `pytest --hypothesis-profile sweep` draws many, and others each time.
    """
    from hypothesis import HealthCheck, settings  # noqa: PLC0415 - costs 0.3 s

    settings.register_profile(
        "suite",
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.register_profile("sweep", max_examples=2000, deadline=None, derandomize=False)
    settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Import and collect without the garbage collector, which finds nothing there."""
    gc.disable()
    try:
        worker: Mapping[str, Any] | None = getattr(session.config, "workerinput", None)
        if session.config.args == ["tests"] and worker is not None:
            _import_tests(worker)
        return (yield)
    finally:
        gc.enable()


def _import_tests(worker: Mapping[str, Any]) -> None:
    """Import the modules of all tests, in each process from another folder on.

    In a fresh clone none is compiled yet: so each process compiles a part, and finds the others.
    What cannot be imported is told when it is collected.
    """
    folders = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir())
    first = len(folders) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for folder in folders[first:] + folders[:first]:
        for file in sorted(folder.glob("*test*.py")):  # conftest.py before the others
            with suppress(Exception, pytest.skip.Exception):
                import_module(f"tests.{folder.name}.{file.stem}")


def pytest_xdist_auto_num_workers() -> int:
    """Return two more than there are cores: those with other processes' tests mostly wait."""
    return (os.cpu_count() or 1) + 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Run the tests of a file in one process, and those of a Ray cluster, which they share."""
    return _Scheduling(config, log)


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # no annotations
    def _split_scope(self, nodeid: str) -> str:
        on_cluster = nodeid.startswith(("tests/ray/test_run.py", "tests/ray/test_shard_loss.py"))
        return "tests/ray" if on_cluster else super()._split_scope(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests wait for other processes; after each put one that computes.

    So not all processes wait at one time, and at the end nobody waits for a long file: those of
    the folders named as long come before the rest.
    """
    waiting = ["ray", "cli", "redis", "transport"]
    long = ["project", "pytest_plugin", "limits", "fault_matrix"]
    places = {folder: place for place, folder in enumerate([*waiting, *long])}
    files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    files.sort(key=lambda tests: places.get(tests[0].path.parent.name, len(places)))
    first = sum(tests[0].path.parent.name in waiting for tests in files)
    none: list[pytest.Item] = []
    pairs = zip_longest(files[:first], files[first:], fillvalue=none)
    items[:] = chain.from_iterable(chain.from_iterable(pairs))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run coroutines on asyncio, on the loop whose clock jumps over waiting."""
    from ideogram_async.testing import VirtualTimeLoop  # noqa: PLC0415 - as Hypothesis

    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """Let the garbage collector look at the objects of this file's tests alone."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def lane(request: pytest.FixtureRequest) -> str | None:
    """Choose the lane that clients use, where a test is run on each.

    Make every draw of backoff and jitter the same in each run: one fixture costs less than two.
    """
    from tests.support import lanes  # noqa: PLC0415 - as Hypothesis

    random.seed(0)
    lane: str | None = getattr(request, "param", None)
    if lanes.is_plain(lane):
        lanes.choose_plain(request.getfixturevalue("monkeypatch"))
    return lane
