"""The pytest plug-in in suites of its users: beside pytest-asyncio, beside anyio's alone, unused.

Each suite runs in a process of its own, as its user's would.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SPEC = find_spec("ideogram_async")  # where it is installed, without importing it
assert SPEC is not None
README = Path(str(SPEC.origin)).with_name("testing").joinpath("README.md").read_text("utf-8")
ONE_OF = {"asyncio": ["-pno:anyio"], "anyio": ["-pno:asyncio"], "both": []}
"""Which plug-in is left out, so that the other is alone."""

NEEDLESS = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist", "timeout")]
"""Plug-ins that would only take time."""


def run(folder: Path, files: dict[str, str], way: str, ini: str = "") -> dict[str, str]:
    """Run a suite in one of both ways or with both; return the outcome of each of its tests."""
    settings = "[pytest]\nfilterwarnings = error\n"
    if way != "anyio":
        settings += "asyncio_default_fixture_loop_scope = function\n"
    for name, text in {**files, "pytest.ini": settings + ini}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", *ONE_OF[way], *NEEDLESS]
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        command, cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )
    assert not ended.stderr
    (folder / "output").write_text(ended.stdout)
    return dict(re.findall(r"^\S*::(\w+)\S* ([A-Z]+)", ended.stdout, re.MULTILINE))


def _suite(name: str) -> tuple[str, str]:
    """Return the example `gallery`, as its README shows it, and the settings that stand there."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    (test,) = [block for kind, block in blocks if kind == "python" and f"def {name}(" in block]
    (settings,) = [block for kind, block in blocks if kind == "ini"]
    return test, settings.removeprefix("[pytest]\n")


UNUSED = """
import sys

def test_what_is_loaded(request):
    assert request.config.pluginmanager.has_plugin("ideogram_async")
    assert not {"aiohttp", "msgspec", "ideogram_async"} & set(sys.modules)
"""
VIRTUAL = "ideogram_virtual_time = true\n"


def test_unused_it_costs_nothing(tmp_path: Path) -> None:
    """Where no test asks for a gateway neither the library nor aiohttp is imported."""
    assert run(tmp_path, {"test_it.py": UNUSED}, "both", VIRTUAL) == {
        "test_what_is_loaded": "PASSED"
    }


USED = """
import asyncio
import pytest
from ideogram_async import IdeogramClient
from ideogram_async.testing import VirtualTimeLoop

{before}

@{fixture}
async def client(ideogram_gateway):
    async with IdeogramClient(ideogram_gateway.url, token="key") as client:
        yield client

class TestOne:
    @pytest.mark.{mark}
    async def test_in_the_same_loop(self, client, ideogram_gateway):
        assert type(asyncio.get_running_loop()) {same} VirtualTimeLoop
        request = await client.wait(ideogram_gateway.submit(duration=0))
        assert request.is_complete
        assert len(ideogram_gateway.queries) == 1

    @pytest.mark.{mark}
    @pytest.mark.ideogram_gateway(latency=0.25, tokens=["key"])
    async def test_a_gateway_of_its_own(self, client, ideogram_gateway):
        assert ideogram_gateway.queries == []
        assert ideogram_gateway.latency == 0.25
        await client.wait(ideogram_gateway.submit(duration=0))
"""
USED_WELL = {"test_in_the_same_loop": "PASSED", "test_a_gateway_of_its_own": "PASSED"}


def used(way: str, mark: str, ini: str) -> str:
    """Return a suite each of whose tests has a gateway of its own."""
    fixture = {"anyio": "pytest.fixture", "asyncio": "pytest_asyncio.fixture"}[way]
    if "loop_scope" in mark + ini:
        fixture += "(loop_scope='class')"
    before = "import pytest_asyncio" if way == "asyncio" else ""
    same = "is" if VIRTUAL in ini else "is not"
    return USED.format(mark=mark, fixture=fixture, before=before, same=same)


CHOSEN = """
import asyncio
import pytest
from ideogram_async.testing import VirtualTimeLoop

@pytest.mark.{way}
async def test_in_another_loop(ideogram_gateway):
    assert type(asyncio.get_running_loop()) is not VirtualTimeLoop

def test_no_coroutine(ideogram_gateway):
    pass
"""
OWN_LOOP = {
    "anyio": "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'",
    "asyncio": "import asyncio\n"
    "def pytest_asyncio_loop_factories(): return {'real': asyncio.new_event_loop}",
}


MISTAKEN = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_in_real_time(ideogram_gateway):
    pass
"""
UNNAMED = """
import asyncio
import pytest
from ideogram_async.testing import VirtualTimeLoop

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualTimeLoop}

@pytest.mark.anyio
@pytest.mark.ideogram_gateway("key")
async def test_of_a_key(ideogram_gateway):
    pass

@pytest.mark.anyio
async def test_on_virtual_time(ideogram_gateway):
    await asyncio.sleep(3600)
"""


@pytest.mark.parametrize(
    ("way", "mark"), [("anyio", "anyio"), ("asyncio", "asyncio(loop_scope='class')")]
)
def test_a_suite_on_virtual_time(way: str, mark: str, tmp_path: Path) -> None:
    """An hour takes seconds, each test has a gateway, and a conftest's own loop goes first.

    The README's test passes as it stands there. Each test has its gateway in its own loop, as its
    mark says. A plain function is told what a gateway needs. A mark's unnamed argument, and a
    module's loop in real time, would be ignored: they are told, with what to do.
    """
    readme, ini = _suite("test_a_gallery")
    assert ini == VIRTUAL
    files = {
        "test_readme.py": readme.replace("mark.asyncio", f"mark.{way}"),
        "test_used.py": used(way, mark, VIRTUAL),
        "chosen/test_chosen.py": CHOSEN.format(way=way),
        "chosen/conftest.py": OWN_LOOP[way],
    }
    if way == "anyio":
        files |= {"test_mistaken.py": MISTAKEN, "test_unnamed.py": UNNAMED}
    outcomes = run(tmp_path, files, way, ini)
    output = (tmp_path / "output").read_text()
    if way == "anyio":
        assert outcomes.pop("test_in_real_time") == "ERROR"
        assert "the fixture anyio_backend of test_mistaken.py would turn it off" in output
        assert outcomes.pop("test_of_a_key") == "ERROR"
        assert "by their names, as in ideogram_gateway(tokens=['key']): what is 'key'?" in output
        assert outcomes.pop("test_on_virtual_time") == "PASSED"
    assert outcomes == {
        "test_a_gallery": "PASSED",
        **USED_WELL,
        "test_in_another_loop": "PASSED",
        "test_no_coroutine": "ERROR",
    }
    assert "ideogram_gateway needs a coroutine function on asyncio" in output


def test_settings_of_pytest_asyncio(tmp_path: Path) -> None:
    """A test has its gateway in its own loop, of the settings' scope, in real time as well."""
    ini = "asyncio_mode = auto\nasyncio_default_test_loop_scope = class\n"
    assert run(tmp_path, {"test_it.py": used("asyncio", "asyncio", ini)}, "asyncio", ini) == (
        USED_WELL
    )
