"""The pytest plug-in: a gateway in a test's own event loop, and virtual time.

It is installed as a module of its own, beside the package. Pytest loads it in every run; inside the
package, it would import the whole library. The library is imported when a test needs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    import asyncio

    from ideogram_async.testing import Gateway

VIRTUAL_TIME = "ideogram_virtual_time"
SCOPES = ("function", "class", "module", "package", "session")
NO_LOOP = (
    "ideogram_gateway needs a coroutine function on asyncio: mark the test with pytest.mark.anyio,"
    " with 'asyncio' as its fixture anyio_backend, or with pytest.mark.asyncio"
)
NO_NAMES = (
    "the mark ideogram_gateway takes the arguments of Gateway by their names, as in"
    " ideogram_gateway(tokens=['key']): what is {!r}?"
)
REAL_TIME = (
    f"{VIRTUAL_TIME} is set, and the fixture anyio_backend of {{}} would turn it off: remove the"
    " fixture, or name a loop in it, as in ('asyncio', {{'loop_factory': VirtualTimeLoop}}), or"
    " asyncio.new_event_loop for real time"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plug-in's setting."""
    about = "run every test of anyio and pytest-asyncio on a loop where waiting takes no time"
    parser.addini(VIRTUAL_TIME, about, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Add the mark, and the fixtures for the plug-ins that run coroutines in this run."""
    about = "ideogram_gateway(**settings): the arguments of this test's Gateway"
    config.addinivalue_line("markers", about)
    plugins = config.pluginmanager
    if plugins.has_plugin("asyncio"):
        plugins.register(_asyncio_gateways())
    if config.getini(VIRTUAL_TIME):
        if plugins.has_plugin("asyncio") and not hasattr(
            config.hook, "pytest_asyncio_loop_factories"
        ):
            raise pytest.UsageError(f"{VIRTUAL_TIME}: this pytest-asyncio takes no loop factories")
        plugins.register(_virtual_time())


@pytest.fixture
def ideogram_gateway(request: pytest.FixtureRequest) -> Gateway:
    """Return a gateway on loopback for one test, in the test's event loop.

    The arguments of the test's mark `ideogram_gateway`, if it has one, are the gateway's:
    `@pytest.mark.ideogram_gateway(tokens=["key"], latency=0.5)`.
    """
    mark = request.node.get_closest_marker("asyncio")
    if "anyio_backend" in request.fixturenames:
        name = "_ideogram_gateway_anyio"
    elif mark is not None and request.config.pluginmanager.has_plugin("asyncio"):
        default = request.config.getini("asyncio_default_test_loop_scope")
        name = f"_ideogram_gateway_{mark.kwargs.get('loop_scope') or default}"
    else:
        pytest.fail(NO_LOOP, pytrace=False)
    return cast("Gateway", request.getfixturevalue(name))


@pytest.fixture
async def _ideogram_gateway_anyio(
    request: pytest.FixtureRequest, anyio_backend_name: str
) -> AsyncIterator[Gateway]:
    if anyio_backend_name != "asyncio":
        pytest.fail(NO_LOOP, pytrace=False)
    async with _made(request) as gateway:
        yield gateway


def _made(request: pytest.FixtureRequest) -> Gateway:
    from ideogram_async.testing import Gateway  # noqa: PLC0415 - imported when it is needed

    mark = request.node.get_closest_marker("ideogram_gateway")
    if mark is not None and mark.args:
        pytest.fail(NO_NAMES.format(*mark.args), pytrace=False)
    return Gateway(**({} if mark is None else mark.kwargs))


def _asyncio_gateways() -> ModuleType:
    """Return the fixtures for pytest-asyncio, one per scope of a test's loop."""
    import pytest_asyncio  # noqa: PLC0415 - it may be missing

    fixture: Any = pytest_asyncio.fixture
    plugin = ModuleType("ideogram_async gateways")
    for scope in SCOPES:

        async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
            async with _made(request) as one:
                yield one  # noqa: ASYNC119 - pytest closes it

        name = f"_ideogram_gateway_{scope}"
        setattr(plugin, name, fixture(gateway, loop_scope=scope, name=name))
    return plugin


def _virtual_time() -> ModuleType:
    """Return the fixture and hook for the virtual-time loop; a conftest can override both."""
    plugin = ModuleType("ideogram_async virtual time")

    @pytest.fixture(scope="session")
    def anyio_backend() -> tuple[str, dict[str, Any]]:
        return "asyncio", {"loop_factory": _virtual_time_loop}

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_asyncio_loop_factories() -> dict[str, Any]:
        return {"virtual": _virtual_time_loop}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        fixturedef: pytest.FixtureDef[Any],
    ) -> Generator[None, object, object]:
        value = yield
        place = fixturedef.baseid.partition("::")[0]
        is_own = fixturedef.argname == "anyio_backend" and place.endswith(".py")
        if is_own and value in ("asyncio", ("asyncio", {})):
            pytest.fail(REAL_TIME.format(place), pytrace=False)
        return value

    vars(plugin).update(
        anyio_backend=anyio_backend,
        pytest_asyncio_loop_factories=pytest_asyncio_loop_factories,
        pytest_fixture_setup=pytest_fixture_setup,
    )
    return plugin


def _virtual_time_loop() -> asyncio.AbstractEventLoop:
    from ideogram_async.testing import VirtualTimeLoop  # noqa: PLC0415 - imported when it is needed

    return VirtualTimeLoop()
