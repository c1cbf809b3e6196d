"""The log: what the environment asks for, and what an application has set up itself."""

from __future__ import annotations

import logging

import pytest

from ideogram_async import FixedInterval, IdeogramClient, _hooks, _logging
from ideogram_async._logging import set_up_logging
from ideogram_async.testing import Gateway

CANARY = "canary-4711"


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """Give the library a logger as it is in a new process, out of reach of pytest's handlers."""
    logger = logging.Logger("ideogram_async")  # noqa: LOG001 - one that nothing else knows
    monkeypatch.setattr(_logging, "logger", logger)
    monkeypatch.setattr(_hooks, "logger", logger)
    return logger


def test_a_service_that_has_set_up_nothing(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The level is set, and each line goes to standard error once, however often it is asked."""
    for _ in range(3):
        set_up_logging({"IDEOGRAM_LOG": " Info "})
    logger.info("heard")
    logger.debug("not heard")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO ideogram_async: heard")


def test_handlers_of_a_service_are_kept(logger: logging.Logger) -> None:
    """Where a handler is there already, none is added, and it gets what the level lets through."""
    heard: list[logging.LogRecord] = []

    class Own(logging.Handler):
        """Keeps what it gets."""

        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    own = Own()
    logger.addHandler(own)
    set_up_logging({"IDEOGRAM_LOG": "debug"})
    logger.debug("heard")
    assert logger.handlers == [own]
    assert [record.getMessage() for record in heard] == ["heard"]


def test_a_level_of_a_service_is_kept(logger: logging.Logger) -> None:
    """An application's own level goes before the environment's."""
    logger.setLevel(logging.ERROR)
    set_up_logging({"IDEOGRAM_LOG": "debug"})
    assert logger.level == logging.ERROR


def test_a_level_that_is_none(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """A level that does not exist is told, and ends nothing."""
    logger.addHandler(caplog.handler)
    set_up_logging({"IDEOGRAM_LOG": "loud"})
    assert "'loud'" in caplog.text
    assert logger.level == logging.NOTSET


@pytest.mark.anyio
async def test_a_client_logs_each_answer_at_debug(
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the variable set, a client's log has a line an answer, and never a key."""
    monkeypatch.setenv("IDEOGRAM_LOG", "debug")
    async with Gateway(tokens=[CANARY]) as gateway:
        schedule = FixedInterval(1.0)
        async with IdeogramClient(gateway.url, token=CANARY, schedule=schedule) as client:
            assert logger.level == logging.DEBUG
            request_id = gateway.submit(duration=3.0)
            await client.wait(request_id)
    told = capsys.readouterr().err
    assert told.count(f"DEBUG ideogram_async: {request_id}: ") == len(gateway.queries)
    assert ": 100 % (0.100 s)" in told
    assert CANARY not in told
