"""The pytest plug-in in suites of its users: beside pytest-asyncio, beside anyio's alone, unused.

Each suite runs in a process of its own, as its user's would.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ONE_OF = {"asyncio": "no:anyio", "anyio": "no:asyncio"}
"""Which plug-in is left out, so that the other is alone."""

NEEDLESS = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist", "timeout")]
"""Plug-ins that would only take time."""

each_way = pytest.mark.parametrize("way", ONE_OF)


def run(folder: Path, test: str, without: str, *, ini: str = "", conftest: str = "") -> str:
    """Run a suite of one file, without a plug-in; give what pytest printed."""
    settings = "[pytest]\nfilterwarnings = error\n"
    if without != "no:asyncio":
        settings += "asyncio_default_fixture_loop_scope = function\n"
    (folder / "pytest.ini").write_text(settings + ini)
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", without, *NEEDLESS]
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        command, cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )
    return ended.stdout + ended.stderr


def _suite(name: str) -> tuple[str, str]:
    """Give the README's test of that name, and the settings that it shows for it."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    (test,) = [block for kind, block in blocks if kind == "python" and f"def {name}(" in block]
    (settings,) = [block for kind, block in blocks if kind == "ini"]
    return test, settings.removeprefix("[pytest]\n")


@each_way
def test_the_readmes_suite(way: str, tmp_path: Path) -> None:
    """The README's test of a service passes under both plug-ins: an hour takes seconds."""
    test, ini = _suite("test_a_gallery")
    told = run(tmp_path, test.replace("mark.asyncio", f"mark.{way}"), ONE_OF[way], ini=ini)
    assert re.search(r"^1 passed in [\d.]+s$", told, re.MULTILINE), told


UNUSED = """
import sys

def test_what_is_loaded(request):
    assert request.config.pluginmanager.has_plugin("ideogram_async")
    assert not {"aiohttp", "msgspec", "ideogram_async"} & set(sys.modules)
"""


@each_way
def test_unused_it_costs_nothing(way: str, tmp_path: Path) -> None:
    """Where no test asks for a gateway neither the library nor aiohttp is imported."""
    ini = "ideogram_virtual_time = true\n"
    assert "1 passed" in (told := run(tmp_path, UNUSED, ONE_OF[way], ini=ini)), told


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
ANYIO = "@pytest.fixture\ndef anyio_backend(): return 'asyncio'"
VIRTUAL = "ideogram_virtual_time = true\n"


@pytest.mark.parametrize(
    ("way", "mark", "ini"),
    [
        ("anyio", "anyio", VIRTUAL),
        ("asyncio", "asyncio", VIRTUAL + "asyncio_default_test_loop_scope = class\n"),
        ("asyncio", "asyncio(loop_scope='class')", VIRTUAL),
        ("asyncio", "asyncio", "asyncio_mode = auto\n"),
    ],
)
def test_a_gateway_a_test(way: str, mark: str, ini: str, tmp_path: Path) -> None:
    """Each test has a gateway of its own, in its own loop of any scope, as its mark says."""
    fixture = {"anyio": "pytest.fixture", "asyncio": "pytest_asyncio.fixture"}[way]
    if "loop_scope" in mark + ini:
        fixture += "(loop_scope='class')"
    before = ANYIO if way == "anyio" and ini != VIRTUAL else ""
    before += "import pytest_asyncio" if way == "asyncio" else ""
    same = "is" if VIRTUAL in ini else "is not"
    test = USED.format(mark=mark, fixture=fixture, before=before, same=same)
    assert "2 passed" in (told := run(tmp_path, test, ONE_OF[way], ini=ini)), told


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
    "anyio": "import pytest\n" + ANYIO,
    "asyncio": "import asyncio\n"
    "def pytest_asyncio_loop_factories(): return {'real': asyncio.new_event_loop}",
}


@each_way
def test_what_a_conftest_says_goes_first(way: str, tmp_path: Path) -> None:
    """A suite's own choice of a loop wins, and a plain function is told what a gateway needs."""
    test = CHOSEN.format(way=way)
    told = run(tmp_path, test, ONE_OF[way], ini=VIRTUAL, conftest=OWN_LOOP[way])
    assert "1 passed, 1 error" in told, told
    assert "ideogram_gateway needs a coroutine function on asyncio" in told
