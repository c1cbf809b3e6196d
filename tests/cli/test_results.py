"""A file of results: what a killed `watch` leaves, and how the next one goes on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from benchmarks.cli import kills
from ideogram_async import Downloads, IdeogramClient, SamplingRequest, SamplingResponse
from ideogram_async.cli._console import json_line
from ideogram_async.cli._exit_codes import CommandError
from ideogram_async.cli._ids import IdStream, gather, without
from ideogram_async.cli._results import Stream, results_to
from ideogram_async.cli._watch import run_watch
from ideogram_async.testing import Gateway, picture
from tests.support.disk import largest_file

pytestmark = pytest.mark.anyio

REQUESTS = [
    SamplingRequest(
        request_id=f"id-{number}",
        is_completed=True,
        user_prompt="多字节\x1b",
        responses=(SamplingResponse(response_id=f"image-{number}"),),
    )
    for number in range(3)
]
LINES = [json_line(request) for request in REQUESTS]


def ids_in(file: Path) -> list[str]:
    """List the ids of a file's lines, all of which must be whole."""
    content = file.read_bytes()
    assert content.endswith(b"\n") or not content
    return [msgspec.json.decode(line)["request_id"] for line in content.splitlines()]


async def watched(gateway: Gateway, ids: Any, file: Path, **settings: Any) -> None:
    """Watch ids to their end, with a file of results."""
    downloads = Downloads(assets_url=gateway.assets_url, allow_loopback=True)
    with results_to(file) as results:
        client = IdeogramClient(gateway.url, downloads=downloads)
        await run_watch(client, ids, results, **settings)


async def test_a_second_call_asks_for_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each id is in the file once, and what was there before costs no query."""
    file = tmp_path / "results.jsonl"
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=n) for n in range(6)]
        await watched(gateway, ids[:4], file)
        before = len(gateway.queries)
        await watched(gateway, ids, file)
        assert {query.request_id for query in gateway.queries[before:]} == set(ids[4:])
        await watched(gateway, ids, file)
    assert sorted(ids_in(file)) == sorted(ids)
    told = capsys.readouterr().err
    assert "2 of 2 complete (4 were in the file), " in told
    assert "0 of 0 complete (6 were in the file), 0 queries, in 0 s" in told


async def test_a_line_is_there_the_moment_its_request_is_known(tmp_path: Path) -> None:
    """What an interrupted run has seen is in the file, whole; nothing waits in a buffer."""
    file = tmp_path / "results.jsonl"
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=3), gateway.submit(progress="never")]
        with pytest.raises(CommandError, match="1 pending; to go on, call it again with the same"):
            await watched(gateway, ids, file, timeout=30)
        assert ids_in(file) == ids[:1]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """Wherever the last line was torn, the whole ones stay, and a new one follows on them."""
    file = tmp_path / "results.jsonl"
    for cut in range(len(LINES[2])):
        file.write_bytes(LINES[0] + LINES[1] + LINES[2][:cut])
        with results_to(file) as results:
            assert results.known == {"id-0", "id-1"}
            assert list(results.records()) == REQUESTS[:2]
        assert file.read_bytes() == LINES[0] + LINES[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# my notes\nsecond line", "line 1 is no finished request"),
        (b"one line of notes", "line 1 is no finished request"),
        (LINES[0] + b"{broken\n" + LINES[1], "line 2 is no finished request"),
        (LINES[0] + b'{"id": 1}\n', "line 2 is no finished request"),
        (LINES[0] + b"\xff\n", "line 2 is no finished request"),
        (LINES[0] + b"[" * 100_000 + b"\n", "line 2 is no finished request"),
        (LINES[0] + b"{}", "line 2 is no finished request"),
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(
    content: bytes, said: str, tmp_path: Path
) -> None:
    """A file that holds other lines is refused and not touched: it may be a user's own."""
    file = tmp_path / "notes"
    file.write_bytes(content)
    with pytest.raises(CommandError, match=said), results_to(file):
        pass
    assert file.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory, a device, and a path that leads nowhere are bad usage."""
    for path in (tmp_path, Path(os.devnull), tmp_path / "no" / "file"):
        with pytest.raises(CommandError, match="left as it is") as caught, results_to(path):
            pass
        assert caught.value.code == 2


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """While a file is being written, another call on it is refused; afterwards it is not."""
    file = tmp_path / "results.jsonl"
    with (
        results_to(file),
        pytest.raises(CommandError, match="by another process"),
        results_to(file),
    ):
        pass
    with results_to(file) as results:
        assert results.resumable


def test_blank_lines_do_not_matter(tmp_path: Path) -> None:
    """A file that an editor has passed over is still one of results."""
    file = tmp_path / "results.jsonl"
    file.write_bytes(LINES[0] + b"\r\n" + LINES[1].replace(b"\n", b"\r\n"))
    with results_to(file) as results:
        assert results.known == {"id-0", "id-1"}
        assert len(list(results.records())) == 2


async def test_a_full_disk_ends_the_run_with_whole_lines(tmp_path: Path) -> None:
    """Where a line does not fit, the run ends with exit code 3, and no part of it stays."""
    file = tmp_path / "results.jsonl"
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=n) for n in range(8)]
        with largest_file(3000), pytest.raises(CommandError, match="File too large") as ended:
            await watched(gateway, ids, file)
        assert ended.value.code == 3
        assert 0 < len(ids_in(file)) < 8
        await watched(gateway, ids, file)
    assert sorted(ids_in(file)) == sorted(ids)


async def test_known_ids_of_a_pipe_are_left_out() -> None:
    """A source that is read as it comes is asked for its unknown ids alone."""
    source, sink = os.pipe()
    os.write(sink, b"known\nnew\nknown\n")
    os.close(sink)
    with open(source, "rb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - a pipe
        ids, _ = without(gather(["known", "given"], file), {"known"})
        assert isinstance(ids, IdStream)
        assert [one async for one in ids] == ["given", "new"]
    given = gather(["known", "given", "known"], None)
    assert without(given, {"known", "of another call"}) == (["given"], 1)


# Images


async def test_images_are_saved_beside_the_polling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image is there at the end, and on the page, and counted."""
    file, directory = tmp_path / "results.jsonl", tmp_path / "images"
    async with Gateway(image_delay=2) as gateway:
        ids = [gateway.submit(duration=n, images=2) for n in range(5)]
        await watched(gateway, ids, file, directory=directory)
    names = {path.name for path in directory.iterdir()}
    assert len(names) == 11
    page = (directory / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in names - {"index.html"})
    *_, summary, page = capsys.readouterr().err.splitlines()
    assert summary.startswith("5 of 5 complete, ")
    assert ", 10 images saved, " in summary
    assert page == f"the images: {directory / 'index.html'}"


async def test_a_failed_download_loses_no_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record is delivered, the failure is told, the exit code is 1, the next call saves it."""
    file, directory = tmp_path / "results.jsonl", tmp_path / "images"
    async with Gateway(image_delay=1000) as gateway:
        ids = [gateway.submit(duration=1)]
        with pytest.raises(typer.Exit) as ended:
            await watched(gateway, ids, file, directory=directory)
        assert ended.value.exit_code == 1
        assert ids_in(file) == ids
        assert "failed: image" in capsys.readouterr().err
        queries = len(gateway.queries)
        gateway.image_delay = 0.0
        await watched(gateway, ids, file, directory=directory, quality="balanced")
        assert len(gateway.queries) == queries
    (image,) = directory.glob("*.png")
    assert image.name.endswith(".balanced.png")


async def test_the_page_has_all_in_the_order_of_the_ids(tmp_path: Path) -> None:
    """Requests that failed, or ended without an image, stand among the others with their reason."""
    directory = tmp_path / "images"
    async with Gateway() as gateway:
        ids = [
            gateway.submit(duration=3, errored=True),
            gateway.submit(duration=2, images=3),
            gateway.submit(duration=1, progress="moderated"),
        ]
        with pytest.raises(typer.Exit):
            await watched(gateway, ids, tmp_path / "results.jsonl", directory=directory)
    page = (directory / "index.html").read_text(encoding="utf-8")
    sections = re.findall('<section id="(.*?)">(.*)</section>', page)
    assert [one for one, _ in sections] == ids
    assert [text.count("<img ") for _, text in sections] == [0, 3, 0]
    reasons = [re.findall('<p class="reason">(.*?)</p>', text) for _, text in sections]
    assert "is_errored" in reasons[0][0]
    assert reasons[1:] == [[], ["complete, without images: it was moderated, probably"]]


async def test_images_wait_for_nobody_when_the_run_is_ended(tmp_path: Path) -> None:
    """A run past its timeout leaves at once, with no part of an image on the disk."""
    file, directory = tmp_path / "results.jsonl", tmp_path / "images"
    async with Gateway(image_delay=1000) as gateway:
        ids = [gateway.submit(duration=1), gateway.submit(progress="never")]
        with pytest.raises(CommandError, match="within the timeout"):
            await watched(gateway, ids, file, directory=directory, timeout=10)
    assert [path.name for path in directory.iterdir()] == []


async def test_on_standard_output_images_are_saved_too(tmp_path: Path) -> None:
    """Without a file of results the lines go out as ever."""
    source, output = os.pipe()
    async with Gateway() as gateway:
        downloads = Downloads(assets_url=gateway.assets_url, allow_loopback=True)
        client = IdeogramClient(gateway.url, downloads=downloads)
        ids = [gateway.submit(duration=1)]
        await run_watch(client, ids, Stream(output), directory=tmp_path)
    os.close(output)
    with open(source, "rb") as file:  # noqa: ASYNC230, PTH123 - a pipe that has ended
        record = msgspec.json.decode(file.read(), type=SamplingRequest)
    (image,) = record.responses
    path = tmp_path / f"ideogram-{image.response_id}.png"
    assert path.read_bytes() == picture(image.response_id or "")


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After a kill at a random moment each id is in the file once, and each image is whole."""
    line = kills.run(tmp_path, kills=1, count=40, longest=1.2, seed=0)
    assert line.startswith("1 kills, 40 ids: each in the file once, 40 images whole;")
