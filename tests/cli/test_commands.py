"""The command line: what goes in, what comes out and where, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from xml.etree import ElementTree as ET

import msgspec
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import ideogram_async
from ideogram_async import IdeogramClient, SamplingRequest, __main__
from ideogram_async.cli import app
from ideogram_async.cli._console import Console, json_line
from ideogram_async.cli._demo import run_demo
from ideogram_async.cli._exit_codes import CommandError, flushed_streams
from ideogram_async.cli._ids import IdStream, gather, opened
from ideogram_async.cli._log import log_to_stderr
from ideogram_async.cli._results import Stream
from ideogram_async.cli._streams import read_some, write_all
from ideogram_async.cli._watch import run_watch
from ideogram_async.testing import Gateway, relay_error
from tests.support.commands import (
    HOSTILE,
    ROOT,
    TOKEN,
    Served,
    check_sane,
    environment_for,
    run_in_terminal,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Serve a gateway to other processes."""
    served = Served()
    yield served
    served.close()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment's own settings out."""
    for name in ("BASE_URL", "TOKEN", "ACCESS_TOKEN", "LOG"):
        monkeypatch.delenv(f"IDEOGRAM_{name}", raising=False)


def _call(*arguments: str) -> int | str | None:
    """Run a command in this process; give its exit code."""
    with pytest.raises(SystemExit) as ending:
        app([*arguments], prog_name="ideogram-async")
    return ending.value.code


# demo


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(2))
async def test_demo_shows_the_gain(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In 15 s, on the same requests: fewer queries, far fewer refused, less lag, and what happened.

    The failure, the refused key and the limit are lines of their own; then three commands follow.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    await run_demo(Console(), 40, seed)
    assert loop.time() - started < 15
    told = capsys.readouterr().out
    assert told.startswith("40 requests at a gateway that allows 6 queries per second\n")
    assert "key 2 of 2 is refused (401)" in told
    assert re.search(r" s  the limit is found: at most \d+\.\d queries per second\n", told)
    assert len(re.findall(r" s  request \S+ failed; no other is affected\n", told)) == 1
    rows = dict(re.findall(r"^(ended|queries|refused|mean lag)\b(.*)$", told, re.MULTILINE))
    assert re.fullmatch(r" +\d\d of 40 +40 of 40", rows["ended"])
    for row, share in (("queries", 0.7), ("refused", 0.3), ("mean lag", 0.8)):
        loops, librarys = map(float, re.findall(r"[\d.]+(?= |$)", rows[row].replace("(429)", "")))
        assert librarys < share * loops, row
    *_, first, second, third = told.splitlines()
    assert "ideogram-async serve > ids.txt" in first
    assert "export IDEOGRAM_BASE_URL=" in second
    assert "ideogram-async watch --from ids.txt --output " in third


def test_the_picture_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's picture is made by the command, in no time, and loads nothing from elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert _call("demo", "--count", "12", "--svg", "demo.svg") == 0
    made = Path("demo.svg").read_text(encoding="utf-8")
    for picture in (made, (ROOT / ".github/demo.svg").read_text(encoding="utf-8")):
        assert all(word in picture for word in ("sleep(2)", "library", "refused", "401", "failed"))
        assert re.findall(r"(?:https?:|url\(|@import)[^\s)]*", picture) == [
            'http://www.w3.org/2000/svg"',
            *re.findall(r"url\(#[^)]*", picture),
        ]
        assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - our own


# watch, from end to end


def test_watch_delivers_each_as_json_and_tells_of_failures(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Ids of a file and of arguments, once each: records on stdout, the failure on stderr."""
    monkeypatch.setenv("IDEOGRAM_BASE_URL", served.gateway.url)
    monkeypatch.setenv("IDEOGRAM_TOKEN", TOKEN)
    done = [served.submit(duration=0, prompt=HOSTILE) for _ in range(3)]
    dashed = served.submit(duration=0, request_id=f"-{done[0][:21]}")
    failed = served.submit(duration=0, progress="errored", errored=True)
    file = tmp_path / "ids"
    file.write_bytes(f"\ufeff{dashed}\r\n\n  {failed}\t\n{done[0]}\n{done[0]}".encode())
    assert _call("watch", "--from", str(file), "--", dashed, *done) == 1
    output, errors = capfd.readouterr()
    records = [msgspec.json.decode(line) for line in output.splitlines()]
    assert sorted(record["request_id"] for record in records) == sorted([dashed, *done])
    assert {record["user_prompt"] for record in records} == {HOSTILE, "a lighthouse at dawn"}
    failure, summary = errors.splitlines()
    assert failure.startswith(f"failed: request '{failed}': ")
    assert re.fullmatch(r"4 of 5 complete, 1 failed, 5 queries, in \d s", summary)


def test_watch_reads_standard_input_as_it_comes(served: Served) -> None:
    """An id's record is there before the next id is written, and the end of input ends the run.

    That nobody reads standard error any more, where a failure is told, changes nothing.
    """
    failed = served.submit(duration=0, progress="errored", errored=True)
    ids = [served.submit(duration=0) for _ in range(2)]
    with start(served, "watch", "--from", "-", "--", failed, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        for request_id in ids:
            process.stdin.write(f"{request_id}\n".encode())
            process.stdin.flush()
            assert msgspec.json.decode(process.stdout.readline())["request_id"] == request_id
        process.stdin.close()
        assert process.wait(10) == 1


def test_watch_in_a_terminal_shows_no_hostile_text(served: Served) -> None:
    """With bar and records on one terminal, a hostile prompt reaches it as JSON escapes alone."""
    request_id = served.submit(duration=0, prompt=HOSTILE)
    code, output = run_in_terminal(served, "-m", "ideogram_async", "watch", "--", request_id)
    assert code == 0
    check_sane(output)
    assert "0 of 1" in output
    assert "\x1b[2K{" in output, "the bar was not taken away"
    (line,) = re.findall(r"\{.*\}", output)
    assert msgspec.json.decode(line)["user_prompt"] == HOSTILE


def test_refused_keys_end_a_run_in_one_clean_line(
    served: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A refused key is one line without a traceback, exit code 3, with no hostile character."""
    request_id = served.submit(duration=0)
    refusal = relay_error(401, f"{HOSTILE}\n no")
    served.call(partial(served.gateway.script, refusal, request_id=request_id))
    monkeypatch.setenv("IDEOGRAM_BASE_URL", served.gateway.url)
    monkeypatch.setenv("IDEOGRAM_TOKEN", TOKEN)
    assert _call("watch", "--", request_id) == 3
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert errors.removesuffix("\n").isprintable()
    assert "the key was refused: 401" in errors
    assert "1 pending" in errors


def test_ctrl_c_tells_what_is_pending(served: Served) -> None:
    """SIGINT ends a run with exit code 130 and one line on what is pending and how to go on."""
    request_id = served.submit(progress="never")
    with start(served, "watch", "--", request_id) as process:
        until(lambda: any(one.request_id == request_id for one in served.gateway.queries))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (130, b"")
    (line,) = errors.decode().splitlines()
    assert line.startswith("ideogram-async: interrupted, 1 pending; to go on, ")


FORKS = """
import os, sys
import ideogram_async.cli, ideogram_async.testing
from ideogram_async.__main__ import main

for command in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        sys.argv[1:] = command.split()
        main()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print("ended with", code, file=sys.stderr, flush=True)
"""
"""Each command in a process of its own, which does not import the package again."""


def test_a_reader_that_leaves_ends_it_quietly(served: Served) -> None:
    """Where nobody reads standard output any more, it ends with 141 and without a word of it."""
    ids = f"-- {served.submit(duration=0)}"
    commands = ["demo", f"watch {ids}", f"check {ids}", "serve --port 0", "--help", "--version"]
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-c", FORKS, *commands],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_for(served),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert re.findall(r"^ended with (.*)$", errors, re.MULTILINE) == ["141"] * len(commands)
    assert "roken pipe" not in errors
    assert "Exception" not in errors


def test_text_that_is_left_for_a_reader_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in standard output's buffer at the end has no reader: it is dropped, with 141."""
    source, sink = os.pipe()
    os.close(source)
    with open(sink, "w", encoding="utf-8") as output:  # noqa: PTH123 - a pipe
        output.write("left")
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(SystemExit) as ended, flushed_streams():
            sys.exit(0)
        monkeypatch.undo()
    assert ended.value.code == 141


# watch, on virtual time


class _Run:
    """One `watch` within this loop, and what it wrote to its output."""

    def __init__(self, gateway: Gateway, **settings: Any) -> None:
        self._client = IdeogramClient(gateway.url, **settings)

    async def __call__(self, ids: list[str] | IdStream, timeout: float | None = None) -> bytes:
        source, output = os.pipe()
        try:
            await run_watch(self._client, ids, Stream(output), timeout=timeout)
        finally:
            os.close(output)
            with open(source, "rb") as file:  # noqa: ASYNC230, PTH123 - a pipe that has ended
                written = file.read()
        return written


@pytest.mark.anyio
async def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is a line on progress every 10 s, and one at the end."""
    async with Gateway() as gateway:
        written = await _Run(gateway)([gateway.submit(duration=25)])
    assert written.count(b"\n") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["0 of 1 complete"] * 2 + ["1 of 1 complete"]


@pytest.mark.anyio
async def test_deadline_fails_an_id_and_timeout_ends_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An id past its deadline is a failure, exit code 1; a run past its timeout is 3."""
    async with Gateway() as gateway:
        never = [gateway.submit(progress="never")]
        with pytest.raises(typer.Exit) as failed:
            await _Run(gateway, deadline=5)(never)
        with pytest.raises(CommandError, match="within the timeout; 1 pending") as ended:
            await _Run(gateway)(never, timeout=5)
    assert (failed.value.exit_code, ended.value.code) == (1, 3)
    assert "failed: request" in capsys.readouterr().err


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
async def test_a_full_disk_ends_the_run() -> None:
    """Output that cannot be written ends the run with a word on it, exit code 3."""
    async with Gateway() as gateway:
        output = os.open("/dev/full", os.O_WRONLY)
        client = IdeogramClient(gateway.url)
        with pytest.raises(CommandError, match="standard output") as ended:
            await run_watch(client, [gateway.submit(duration=0)], Stream(output))
        os.close(output)
    assert ended.value.code == 3


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(("more", "code"), [([], 0), (["unknown"], 1)])
async def test_a_full_disk_behind_the_messages_ends_nothing(
    more: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures and figures that cannot be written are dropped; exit codes say what they say."""
    source, output = os.pipe()
    async with Gateway() as gateway:
        ids = [*more, *(gateway.submit(duration=20 + n) for n in range(3))]
        with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: ASYNC230, PTH123 - a device
            monkeypatch.setattr(sys, "stderr", full)
            with pytest.raises(SystemExit) as ended, flushed_streams():
                try:
                    await run_watch(IdeogramClient(gateway.url), ids, Stream(output))
                except typer.Exit as error:
                    sys.exit(error.exit_code)
            monkeypatch.undo()
    os.close(output)
    with open(source, "rb") as file:  # noqa: ASYNC230, PTH123 - a pipe that has ended
        assert file.read().count(b"\n") == 3
    assert ended.value.code == code


@pytest.mark.anyio
async def test_ids_of_a_pipe_are_read_as_they_are_asked_for() -> None:
    """A pipe is read on only for the next id, and parts of a line are put together."""
    source, sink = os.pipe()
    with open(source, "rb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - a pipe
        ids = aiter(IdStream(["given", "one"], file))
        os.write(sink, b"one\r\n\n tw")
        assert await anext(ids) == "given"
        assert await anext(ids) == "one"
        assert select.select([source], [], [], 0)[0]
        second = asyncio.create_task(anext(ids))
        await asyncio.sleep(1)
        os.write(sink, b"o\ntwo\nthree")
        assert await second == "two"
        os.close(sink)
        assert [request_id async for request_id in ids] == ["three"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"fine\n\xff\n", "line 2 is not UTF-8"),
        (b"x" * 70_000, "line 1 is too long"),
        (b"\n \n", "no ids"),
    ],
)
async def test_a_pipe_without_good_ids_is_bad_usage(data: bytes, said: str) -> None:
    """A line of a pipe that can be no id is named; a pipe without any id is told, too."""
    async with Gateway() as gateway:
        source, sink = os.pipe()
        with open(source, "rb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - a pipe
            writing = asyncio.create_task(_write_and_close(sink, data))
            with pytest.raises(CommandError, match=said) as ended:
                await _Run(gateway)(IdStream([], file))
            await writing
    assert ended.value.code == 2


async def _write_and_close(sink: int, data: bytes) -> None:
    await write_all(sink, data)
    os.close(sink)


@pytest.mark.anyio
async def test_a_reader_that_stalls_does_not_stop_the_loop() -> None:
    """While a full pipe is waited for, the loop goes on, and then every byte arrives."""
    source, sink = os.pipe()
    data = os.urandom(300_000)
    writing = asyncio.create_task(write_all(sink, data))
    await asyncio.sleep(60)
    assert not writing.done()
    assert os.get_blocking(sink)
    read = b""
    while len(read) < len(data):
        read += await read_some(source)
    await writing
    assert read == data
    os.close(source)
    with pytest.raises(BrokenPipeError):
        await write_all(sink, b"more")
    os.close(sink)


# Usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no ids"),
        (("--from", "missing"), "missing: No such file"),
        (("--from", "."), ".: Is a directory"),
        (("--from", HOSTILE), "gnp.exe : No such file"),
        (("--from", "empty"), "no ids"),
        (("--from", "latin"), "latin: line 2 is not UTF-8"),
        (("--from", "commented"), "commented: line 2 is a comment: expected one id per line"),
        (("--from", "table.csv"), "table.csv: line 1 holds a comma: expected one id per line"),
        (("--from", "quoted"), "quoted: line 3 holds a quotation mark"),
        (("--from", "words"), "words: line 1 holds a blank"),
        (
            ("--token", "canary", "x"),
            "a key is no option, for every process can see it: set IDEOGRAM_",
        ),
        (("--access-token", "canary", "x"), "IDEOGRAM_ACCESS_TOKEN"),
        (("table.csv",), "table.csv is a file of ids? Give it by --from table.csv"),
        (("x", "--download", "latin"), "latin is a file: --download takes a directory"),
        (("",), "empty"),
        (("x",), "IDEOGRAM_BASE_URL"),
        (("x", "--base-url", "http://gateway.example"), "--allow-http"),
        (
            ("x", "--base-url", "http://127.0.0.1", "--timeout", "nan"),
            "--timeout is nan: expected seconds > 0 and finite",
        ),
        (("x", "--base-url", "http://127.0.0.1", "--deadline", "-1"), "--deadline is -1"),
        (
            ("x", "--base-url", "http://127.0.0.1", "--max-in-flight", "0"),
            "--max-in-flight is 0: expected at least 1",
        ),
    ],
)
def test_bad_usage_is_one_clear_line(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot work is told in one line before anything is asked, exit code 2."""
    monkeypatch.chdir(tmp_path)
    if arguments == ("",):
        monkeypatch.setenv("IDEOGRAM_BASE_URL", "http://127.0.0.1")
    Path("empty").write_bytes(b"\n \r\n")
    Path("latin").write_bytes(b"fine\n\xe9\n")
    Path("commented").write_text("fine\n  # later: more\n")
    Path("table.csv").write_text("id,prompt\none,a fox\n")
    Path("quoted").write_text('fine\n\n"one"\n')
    Path("words").write_text("one two\n")
    with open(os.devnull, "wb") as null:  # noqa: PTH123 - the device; capsys has no descriptor
        monkeypatch.setattr(sys, "stdout", null)
        assert _call("watch", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ideogram-async: ")
    assert line.isprintable()
    assert said in line
    assert "canary" not in line


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
def test_files_of_other_systems(encoding: str, tmp_path: Path) -> None:
    """A file that begins with a byte order mark is read, as some shells of Windows write it."""
    file = tmp_path / "ids"
    file.write_bytes("\ufeffone\r\ntwo\r\n".encode(encoding))
    with opened(str(file)) as ids:
        assert gather(["given"], ids) == ["given", "one", "two"]


def test_closed_standard_streams_are_named() -> None:
    """A closed stdin or stdout is bad usage: its number may be a socket's by now."""
    shell = subprocess.run(  # noqa: S602 - closing a stream is the shell's
        f"{shlex.quote(sys.executable)} -m ideogram_async watch --from - <&-; echo $?;"
        f"{shlex.quote(sys.executable)} -m ideogram_async watch --base-url http://127.0.0.1 x >&-",
        shell=True,
        capture_output=True,
        check=False,
        timeout=20,
        env=environment_for(None),
    )
    assert (shell.stdout, shell.returncode) == (b"2\n", 2)
    told = re.findall("standard (input|output) is closed", shell.stderr.decode())
    assert told == ["input", "output"]


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the one version there is."""
    assert _call("--version") == 0
    assert capsys.readouterr().out == f"{ideogram_async.__version__}\n"


@pytest.mark.parametrize(
    ("command", "call"),
    [("watch", "as_completed"), ("check", "retrieve_many"), ("serve", "testing.Gateway")],
)
def test_help(command: str, call: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help names the library's call, has examples that fit a line, and offers no key."""
    assert _call(command, "-h") == 0
    told = capsys.readouterr().out
    assert f"library's `{call}`" in told
    examples = re.findall(r"^  \S* ?.*ideogram-async .*$", told, re.MULTILINE)
    assert len(examples) >= 2
    assert all(f"ideogram-async {command}" in one for one in examples)
    assert "--token" not in told


def test_help_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the first steps; that of `watch` names the variables for keys."""
    assert _call("--help") == 0
    told = capsys.readouterr().out
    assert "\n  ideogram-async serve > ids.txt\n" in told
    assert "\n  ideogram-async watch --from ids.txt --output finished.jsonl --" in told
    assert _call("watch", "--help") == 0
    assert {"IDEOGRAM_TOKEN", "IDEOGRAM_ACCESS_TOKEN"} <= {*capsys.readouterr().out.split()}


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without typer or rich the command tells the line that installs them, exit code 2."""
    for name in [name for name in sys.modules if re.match(r"ideogram_async\.cli|rich|typer", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match="2"):
        __main__.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'ideogram-async[cli]'" in line


# Text on its way out


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_lines_are_printable_and_lose_nothing(text: str) -> None:
    """A record's line holds printable characters alone, and decodes to the same record."""
    record = SamplingRequest(user_prompt=text, user_hparams={text: [text]})
    line = json_line(record)
    assert line.decode().removesuffix("\n").isprintable()
    assert msgspec.json.decode(line, type=SamplingRequest) == record


def test_the_log_is_set_up_by_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    """IDEOGRAM_LOG picks the level; hostile text in a message stays one plain line."""
    logger = logging.getLogger("ideogram_async")
    before, level = list(logger.handlers), logger.level
    try:
        log_to_stderr({"IDEOGRAM_LOG": "Info"})
        logger.debug("not this")
        logger.info("heard: %s", f"{HOSTILE}\nsecond")
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert " INFO heard: " in line


def test_an_unknown_log_level_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A level that does not exist is told, with those that do."""
    monkeypatch.setenv("IDEOGRAM_LOG", "loud")
    assert _call("watch", "x") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'loud': expected debug, info" in line
