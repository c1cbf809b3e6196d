"""Downloads: what they save and where, what they refuse, and how they end. Promise 18."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import socket
import ssl
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from aiohttp import web

from ideogram_async import (
    ClientClosed,
    DownloadError,
    Downloads,
    IdeogramClient,
    SamplingRequest,
    SamplingResponse,
)
from ideogram_async._downloads.downloader import DELAYS
from ideogram_async._downloads.files import PartialFile
from ideogram_async.testing import Gateway, picture
from tests.support.disk import largest_file
from tests.support.raw_server import End, Play, Query, RawServer

pytestmark = pytest.mark.anyio

CANARY = "canary-4711"
PNG = picture("any")
IMAGE = SamplingResponse(response_id="image")
NAME = "ideogram-image.png"
CHUNKED = "Transfer-Encoding: chunked"


def answer(
    body: bytes = PNG, status: str = "200 OK", *headers: str, kind: str = "image/png"
) -> bytes:
    """Make an answer with an image."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers]
    if not any("Transfer-Encoding" in line or "Content-Length" in line for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def scene(
    *play: bytes | float | End, choose: Callable[[Query], Play] | None = None, **settings: Any
) -> AsyncIterator[tuple[RawServer, IdeogramClient]]:
    """Give a server that plays a script for each query, and a client that may fetch from it."""
    async with RawServer(default=choose or (lambda _: play)) as server:
        downloads = Downloads(assets_url=f"{server.url}/assets", allow_loopback=True, **settings)
        async with IdeogramClient(server.url, token=CANARY, downloads=downloads) as client:
            yield server, client


async def refused(
    client: IdeogramClient, directory: Path, why: str, image: SamplingResponse = IMAGE
) -> DownloadError:
    """Have a download fail with a word on why, and leave nothing behind."""
    before = listing(directory)
    with anyio.fail_after(3600), pytest.raises(DownloadError, match=why) as caught:
        await client.download(image, directory)
    assert listing(directory) == before
    assert caught.value.response_id == image.response_id
    return caught.value


def listing(directory: Path) -> set[str]:
    """List the names in a directory."""
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


# What is saved


@asynccontextmanager
async def gateway(**settings: Any) -> AsyncIterator[tuple[Gateway, IdeogramClient]]:
    """Give the loopback gateway with its images, and a client."""
    async with Gateway(**settings) as server:
        downloads = Downloads(assets_url=server.assets_url, allow_loopback=True)
        async with IdeogramClient(
            server.url, access_token=CANARY, headers={"X-Own": CANARY}, downloads=downloads
        ) as client:
            yield server, client


@pytest.mark.parametrize("quality", ["lossless", "balanced"])
async def test_all_images_of_a_request_are_saved(quality: Any, tmp_path: Path) -> None:
    """Each image is a whole file in a new directory, in the order of the responses, keyless."""
    directory = tmp_path / "a" / "b"
    async with gateway() as (server, client):
        request = await client.wait(server.submit(duration=1, images=3))
        paths = await client.download(request, directory, quality=quality)
        ids = [response.response_id or "" for response in request.responses]
        assert [path.read_bytes() for path in paths] == [picture(one) for one in ids]
        mark = "" if quality == "lossless" else ".balanced"
        assert [path.name for path in paths] == [f"ideogram-{one}{mark}.png" for one in ids]
        assert listing(directory) == {path.name for path in paths}
        assert len(server.image_queries) == 3
        for query in server.image_queries:
            assert f"/{quality}/" in query.path
            assert CANARY not in str(query.headers)
            assert query.headers["User-Agent"].startswith("ideogram-async/")


async def test_a_saved_image_is_not_fetched_again(tmp_path: Path) -> None:
    """A second call gives the same file without a query, and leaves it as it is."""
    async with gateway() as (server, client):
        request = await client.wait(server.submit(duration=1))
        (path,) = await client.download(request, tmp_path)
        path.write_bytes(b"mine")
        assert await client.download(request, tmp_path) == (path,)
        assert path.read_bytes() == b"mine"
        assert len(server.image_queries) == 1


async def test_a_fresh_image_is_tried_until_it_is_there(tmp_path: Path) -> None:
    """The 404 of an image that is served some seconds late costs tries, not the image."""
    async with gateway(image_delay=12) as (server, client):
        request = await client.wait(server.submit(duration=1))
        (path,) = await client.download(request, tmp_path)
        assert path.exists()
        assert {query.status for query in server.image_queries[:-1]} == {404}
        assert len(server.image_queries) <= len(DELAYS) + 1


async def test_a_request_without_images_gives_no_files(tmp_path: Path) -> None:
    """A complete record without images is an answer, for a download, too."""
    async with gateway() as (_, client):
        request = SamplingRequest(request_id="id", is_completed=True)
        assert await client.download(request, tmp_path) == ()


async def test_a_request_that_is_not_complete_has_no_images_to_save(tmp_path: Path) -> None:
    """Instead of no files, a download of it says what it lacks."""
    async with gateway() as (server, client):
        request = await client.retrieve(server.submit(duration=9))
        with pytest.raises(DownloadError, match="is not complete: wait for it first") as caught:
            await client.download(request, tmp_path)
        assert (caught.value.request, caught.value.retryable) == (request, False)
        assert caught.value.request_id == request.request_id
        failed = SamplingRequest(request_id="id", is_errored=True)
        with pytest.raises(DownloadError, match="has failed"):
            await client.download(failed, tmp_path)


async def test_one_of_several_that_fails(tmp_path: Path) -> None:
    """The others are saved all the same, and the error names them and the request."""

    def choose(query: Query) -> Play:
        return [answer(status="410 Gone") if "bad" in query.target else answer()]

    images = tuple(SamplingResponse(response_id=name) for name in ("one", "bad", "two"))
    request = SamplingRequest(request_id="id", responses=images)
    async with scene(choose=choose) as (_, client):
        with pytest.raises(DownloadError, match="image 'bad': the answer is 410") as caught:
            await client.download(request, tmp_path)
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (error.request, error.request_id, error.status) == (request, "id", 410)
    assert not error.retryable
    assert [path.name for path in error.saved] == ["ideogram-one.png", "ideogram-two.png"]
    assert listing(tmp_path) == {"ideogram-one.png", "ideogram-two.png"}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("image/jpeg", ".jpg"), ("IMAGE/WebP; q=1", ".webp"), ("image/avif", ".avif")],
)
async def test_the_suffix_is_told_by_the_type(kind: str, suffix: str, tmp_path: Path) -> None:
    """The Content-Type alone says what a file is; the address may end in anything."""
    image = SamplingResponse(response_id="image", image_url="https://ideogram.ai/assets/x.exe")
    async with scene(answer(kind=kind)) as (_, client):
        path = await client.download(image, tmp_path, quality="balanced")
    assert path.name == f"ideogram-image.balanced{suffix}"


async def test_82_megabytes(tmp_path: Path) -> None:
    """The largest image seen comes whole by default, through little memory, and polling goes on."""
    block = os.urandom(1 << 20)

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "image/png", "Content-Length": str(82 << 20)}
        )
        await response.prepare(request)
        for _ in range(82):
            await response.write(block)
        return response

    async with gateway() as (server, client):
        server.route("/assets", serve)
        tracemalloc.start()
        try:
            path = await client.download(IMAGE, tmp_path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert path.stat().st_size == 82 << 20
    with path.open("rb") as file:
        assert all(file.read(1 << 20) == block for _ in range(82))
    assert peak < 12 << 20


# Where a file may go


@pytest.mark.parametrize(
    "name",
    ["../outside", "/outside", "a/../../b", "-rf", "..", "a\x00b", "x" * 300, "\ud800", "CON"],
)
async def test_an_id_never_leads_out_of_the_directory(name: str, tmp_path: Path) -> None:
    """Whatever an image's id is, its file stands in the directory, below the prefix."""
    directory = tmp_path / "images"
    async with scene(answer()) as (_, client):
        path = await client.download(SamplingResponse(response_id=name), directory)
    assert listing(tmp_path) == {"images"}
    assert listing(directory) == {path.name}
    assert path.parent == directory
    assert path.name.startswith("ideogram-")


@pytest.mark.parametrize("prefix", ["../", "/", ".", "-", "a/b", "a\\b", "é", "x" * 65, "a\n"])
async def test_a_prefix_that_could_lead_out(prefix: str, tmp_path: Path) -> None:
    """A prefix is checked before anything is asked."""
    async with scene() as (server, client):
        with pytest.raises(ValueError, match="prefix"):
            await client.download(IMAGE, tmp_path, prefix=prefix)
        assert server.connections == []


@pytest.mark.parametrize("place", ["link", "dangling link", "directory"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_what_is_no_file_is_left_as_it_is(place: str, when: str, tmp_path: Path) -> None:
    """A link or directory under the file's name is neither followed nor replaced."""
    outside = tmp_path / "outside"
    directory = tmp_path / "images"
    directory.mkdir()

    def occupy() -> None:
        target = directory / NAME
        if place == "directory":
            target.mkdir()
        else:
            target.symlink_to(outside)
        if place == "link":
            outside.write_bytes(b"mine")

    def choose(_: Query) -> Play:
        if when == "meanwhile":
            occupy()
        return [answer()]

    if when == "before":
        occupy()
    async with scene(choose=choose) as (server, client):
        with pytest.raises(DownloadError, match="could not be saved"):
            await client.download(IMAGE, directory)
        assert len(server.queries) == (when == "meanwhile")
    assert listing(directory) == {NAME}
    assert (directory / NAME).is_dir() is (place == "directory")
    assert not outside.exists() or outside.read_bytes() == b"mine"


async def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    """Who is first wins: the file that is there at the end is given, and is not overwritten."""

    def choose(_: Query) -> Play:
        (tmp_path / NAME).write_bytes(b"first")
        return [answer()]

    async with scene(choose=choose) as (_, client):
        path = await client.download(IMAGE, tmp_path)
    assert path.read_bytes() == b"first"
    assert listing(tmp_path) == {NAME}


async def test_parts_of_killed_processes_are_swept(tmp_path: Path) -> None:
    """A part that nobody holds is removed, one that is being written stays, and so does a link."""
    living = PartialFile(tmp_path)
    living.write(b"x")
    (kept,) = listing(tmp_path)
    (tmp_path / ".ideogram-0123456789abcdef.part").write_bytes(b"cut")
    (tmp_path / ".ideogram-fedcba9876543210.part").symlink_to(tmp_path / kept)
    (tmp_path / ".ideogram-other.part").write_bytes(b"not ours")
    async with scene(answer()) as (_, client):
        await client.download(IMAGE, tmp_path)
    others = {".ideogram-fedcba9876543210.part", ".ideogram-other.part"}
    assert listing(tmp_path) == {NAME, kept} | others
    living.discard()


# What is no image


@pytest.mark.parametrize(
    ("play", "why"),
    [
        ([answer(kind="text/html")], "no image but 'text/html'"),
        ([answer(kind="image/svg+xml")], "no image but"),
        ([answer(PNG, "200 OK", "Content-Encoding: gzip")], "is encoded"),
        ([answer(PNG, "200 OK", "Connection: close")[:-9], End.CLOSE], "no complete answer"),
        ([answer(PNG, "200 OK", CHUNKED)[:-9], End.CLOSE], "no complete answer"),
        ([answer(b"")], "is empty"),
        ([answer(status="403 Forbidden")], "the answer is 403"),
        ([answer(status="206 Partial Content")], "the answer is 206"),
        ([b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + PNG, End.CLOSE], "its length"),
        ([b"nonsense\r\n\r\n", End.CLOSE], "no complete answer"),
        ([answer(bytes(2001))], "larger than max_bytes, 2000"),
        (
            [answer(b"7d1\r\n%s\r\n0\r\n\r\n" % bytes(2001), "200 OK", CHUNKED)],
            "larger than max_bytes, 2000",
        ),
    ],
)
async def test_what_is_no_whole_image(play: list[Any], why: str, tmp_path: Path) -> None:
    """Of a wrong type, cut, empty, without an end or too large: an error, and no file."""
    async with scene(*play, max_bytes=2000) as (_, client):
        await refused(client, tmp_path, why)


async def test_too_large_is_not_read(tmp_path: Path) -> None:
    """What is told to be too large is left unread, and what turns out to be so is left there."""
    endless = [b"10000\r\n%s\r\n" % bytes(1 << 16)] * 1000
    head = answer(b"", "200 OK", CHUNKED)
    async with scene(head, *endless, max_bytes=1 << 20) as (server, client):
        await refused(client, tmp_path, "larger than max_bytes")
        assert server.queries[0].sent < 20 << 20


async def test_told_to_be_too_large(tmp_path: Path) -> None:
    """A length beyond max_bytes is refused before a byte of the body has come."""
    head = answer(b"", "200 OK", f"Content-Length: {1 << 40}")
    async with scene(head, End.HANG) as (_, client):
        await refused(client, tmp_path, "larger than max_bytes")
        assert anyio.current_time() == 0


# Where it may connect


_ELSEWHERE = [
    ("https://127.0.0.1:{port}/x", "at 127.0.0.1, which is no public address"),
    ("https://localhost:{port}/x", "which is no public address"),
    ("https://[::1]:{port}/x", "at ::1, which"),
    ("https://[::ffff:127.0.0.1]:{port}/x", "no public address"),
    ("https://[64:ff9b::7f00:1]:{port}/x", "no public address"),
    ("https://10.0.0.1/x", "at 10.0.0.1, which"),
    ("https://169.254.169.254/latest/meta-data", "no public address"),
    ("https://224.0.0.1/x", "no public address"),
    ("https://0x7f.1:{port}/x", "not valid|no public address"),
    ("https://2130706433:{port}/x", "not valid|no public address"),
    ("http://127.0.0.1:{port}/x", "not https but 'http'"),
    ("http://images.example/x", "not https but 'http'"),
    ("file:///etc/passwd", "its address is not"),
    ("ftp://images.example/x", "not https but 'ftp'"),
    ("https://user:pass@images.example/x", "a user name"),
    ("https://[/x", "not valid|leads nowhere"),
    ("https://images.example:0/x", "not valid"),
]
_NOWHERE = [("//images.example/x", "its address is not https"), ("", "no id")]


@pytest.mark.parametrize(("url", "why"), _ELSEWHERE + _NOWHERE)
async def test_addresses_of_records_that_are_not_asked(url: str, why: str, tmp_path: Path) -> None:
    """Other schemes, and addresses that are not public, are refused at once."""
    async with (
        RawServer() as elsewhere,
        IdeogramClient(elsewhere.url, token=CANARY) as client,
    ):
        image = SamplingResponse(image_url=url.format(port=elsewhere.url.rpartition(":")[2]))
        with pytest.raises(DownloadError, match=why) as caught:
            await client.download(image, tmp_path, quality="balanced")
        assert not caught.value.retryable
        assert elsewhere.connections == []
    assert listing(tmp_path) == set()


async def test_a_name_with_several_private_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is refused at once, by its first address, as one that has a single address is."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 443, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    async with IdeogramClient("https://127.0.0.1", token=CANARY) as client:
        image = SamplingResponse(image_url="https://inside.example/x")
        with pytest.raises(
            DownloadError, match=r"at [:\d.]+1, which is no public address"
        ) as caught:
            await client.download(image, tmp_path, quality="balanced")
    assert not caught.value.retryable


@pytest.mark.parametrize(("url", "why"), _ELSEWHERE)
async def test_redirects_that_are_not_followed(url: str, why: str, tmp_path: Path) -> None:
    """The same addresses are refused where a redirect leads there, loopback allowed or not."""
    async with RawServer() as elsewhere:
        location = "Location: " + url.format(port=elsewhere.url.rpartition(":")[2])
        async with scene(answer(b"", "302 Found", location)) as (server, client):
            error = await refused(client, tmp_path, why)
            assert len(server.queries) == 1
        assert not error.retryable
        assert elsewhere.connections == []


@pytest.mark.parametrize("count", [3, 4])
async def test_three_redirects_are_followed(count: int, tmp_path: Path) -> None:
    """The third leads to the image; a fourth is one too many. A redirect costs its body's rest."""

    def choose(query: Query) -> Play:
        place = int(query.target.rpartition("/")[2]) if "hop" in query.target else 0
        if place < count:
            return [answer(b"moved", "307 Temporary Redirect", f"Location: /hop/{place + 1}")]
        return [answer()]

    async with scene(choose=choose) as (server, client):
        if count == 3:
            assert (await client.download(IMAGE, tmp_path)).read_bytes() == PNG
        else:
            await refused(client, tmp_path, "more than 3 redirects")
        assert len(server.queries) == 4
        assert all(CANARY not in query.head for query in server.queries)


async def test_a_redirect_to_nowhere(tmp_path: Path) -> None:
    """A redirect without a target is an error of its own."""
    async with scene(answer(b"", "302 Found")) as (_, client):
        await refused(client, tmp_path, "leads nowhere")


async def test_over_tls_with_a_context_of_its_own(tmp_path: Path) -> None:
    """Https works with the images' own context; without it the certificate is not trusted."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with RawServer(ssl=serving, default=lambda _: [answer()]) as server:
        for context in (None, trusting):
            downloads = Downloads(assets_url=server.url, allow_loopback=True, ssl=context)
            async with IdeogramClient(server.url, ssl=False, downloads=downloads) as client:
                if context is None:
                    await refused(client, tmp_path, "certificate is not trusted")
                else:
                    assert (await client.download(IMAGE, tmp_path)).read_bytes() == PNG


async def test_through_a_proxy_images_come_from_one_host_alone(tmp_path: Path) -> None:
    """A proxy looks names up, so no other host is asked for through it: the check is not ours."""
    async with (
        RawServer(default=lambda _: [answer(b"", "403 Forbidden")]) as proxy,
        IdeogramClient("https://gateway.example", token=CANARY, proxy=proxy.url) as client,
    ):
        other = SamplingResponse(image_url="https://images.example/x")
        with pytest.raises(DownloadError, match="through a proxy"):
            await client.download(other, tmp_path, quality="balanced")
        assert proxy.queries == []
        await refused(client, tmp_path, "no complete answer")
        assert {query.target for query in proxy.queries} == {"ideogram.ai:443"}
        assert all(CANARY not in query.head for query in proxy.queries)


# Tries, limits, ends


async def test_faults_that_may_pass_are_tried_again(tmp_path: Path) -> None:
    """After a reset, a 503 that asks for 20 s and a 429 the image comes; no slot is held."""
    async with scene(answer(), max_at_once=1) as (server, client):
        server.script([End.RESET])
        server.script([answer(b"", "503 Service Unavailable", "Retry-After: 20")])
        server.script([answer(b"", "429 Too Many Requests")])
        waiting = asyncio.create_task(client.download(IMAGE, tmp_path))
        await asyncio.sleep(5)
        other = SamplingResponse(response_id="other")
        with anyio.fail_after(1):
            server.script([answer()])
            await client.download(other, tmp_path)
        assert (await waiting).read_bytes() == PNG
        assert 20 <= anyio.current_time() < 30


async def test_a_long_retry_after_is_the_callers_matter(tmp_path: Path) -> None:
    """A server that asks to wait for minutes gets one query, and the error tells how long."""
    async with scene(answer(b"", "503 Service Unavailable", "Retry-After: 200")) as (
        server,
        client,
    ):
        error = await refused(client, tmp_path, "the answer is 503")
        assert (error.retryable, error.retry_after, len(server.queries)) == (True, 200, 1)


async def test_a_dripping_image_ends(tmp_path: Path) -> None:
    """Each try ends by its timeout, and nothing is left of it."""
    drip: list[bytes | float | End] = [answer(b"", "200 OK", "Content-Length: 1000")]
    drip += [b"x", 5.0] * 1000
    async with scene(*drip, timeout=60) as (server, client):
        error = await refused(client, tmp_path, "not done within 60 s")
        assert error.retryable
        assert len(server.queries) == len(DELAYS) + 1
        assert anyio.current_time() < 6 * 60 + sum(DELAYS) + 1


async def test_a_stalled_image_ends_sooner(tmp_path: Path) -> None:
    """Where nothing comes at all for 30 s, a try does not wait for its timeout."""
    async with scene(answer(b"", "200 OK", "Content-Length: 1000"), End.HANG) as (_, client):
        await refused(client, tmp_path, "the server sent nothing in time")
        assert anyio.current_time() < 6 * 31 + sum(DELAYS)


async def test_downloads_take_nothing_from_polling(tmp_path: Path) -> None:
    """No more than max_at_once at once; full slots of both kinds leave the other kind free."""
    async with gateway() as (server, client):
        release = anyio.Event()
        at_once: list[int] = [0, 0]

        async def serve(_: web.BaseRequest) -> web.StreamResponse:
            at_once[0] += 1
            at_once[1] = max(at_once)
            await release.wait()
            at_once[0] -= 1
            return web.Response(body=PNG, content_type="image/png")

        server.route("/assets", serve)
        images = [SamplingResponse(response_id=f"image-{n}") for n in range(30)]
        async with anyio.create_task_group() as group:
            for image in images:
                group.start_soon(client.download, image, tmp_path)
            ids = [server.submit(duration=5) for _ in range(40)]
            with anyio.fail_after(20):
                assert len([one async for one in client.as_completed(ids)]) == 40
            assert at_once[1] == 4
            release.set()
        assert len(listing(tmp_path)) == 30


@pytest.mark.parametrize("how", ["close", "cancel", "cancel scope"])
async def test_ended_from_outside(how: str, tmp_path: Path) -> None:
    """Closing the client or cancelling ends downloads at once, without a trace on the disk."""
    half: list[bytes | End] = [
        answer(b"x" * (3 << 20), "200 OK", "Content-Length: 9999999"),
        End.HANG,
    ]
    async with scene(*half) as (_, client):
        scopes = [anyio.CancelScope() for _ in range(6)]

        async def download(scope: anyio.CancelScope) -> None:
            with scope:
                await client.download(IMAGE, tmp_path)

        tasks = [asyncio.create_task(download(scope)) for scope in scopes]
        await asyncio.sleep(1)
        assert listing(tmp_path)
        before = anyio.current_time()
        if how == "close":
            await client.close()
        elif how == "cancel":
            for task in tasks:
                task.cancel()
        else:
            for scope in scopes:
                scope.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        wanted = {"close": ClientClosed, "cancel": asyncio.CancelledError}.get(how, type(None))
        assert all(isinstance(end, wanted) for end in ends)
        assert anyio.current_time() - before < 0.1
        assert listing(tmp_path) == set()
    gc.collect()


# A full disk


async def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    """A write that the system refuses is told in its words, tried once, and leaves nothing."""
    async with scene(answer(os.urandom(3 << 20))) as (server, client):
        with largest_file(1 << 20):
            error = await refused(client, tmp_path, "could not be saved: File too large")
        assert not error.retryable
        assert len(server.queries) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB, where this is allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True)  # noqa: S603 - as above
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("a disk can be mounted by root alone")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)  # noqa: S603, S607 - as above


async def test_a_full_disk(small_disk: Path) -> None:
    """A full disk fails the download that fills it, and none before or after it that fits."""

    def choose(query: Query) -> Play:
        return [answer(os.urandom(3 << 20)) if "large" in query.target else answer()]

    async with scene(choose=choose) as (_, client):
        small = await client.download(IMAGE, small_disk)
        large = SamplingResponse(response_id="large")
        await refused(client, small_disk, "No space left on device", large)
        other = await client.download(SamplingResponse(response_id="other"), small_disk)
    assert small.read_bytes() == other.read_bytes() == PNG


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the directory's place is told, before anything is asked."""
    (tmp_path / "file").write_bytes(b"mine")
    async with scene(answer()) as (server, client):
        with pytest.raises(DownloadError, match=r"could not be saved: (File exists|Not a dir)"):
            await client.download(IMAGE, tmp_path / "file")
        assert server.connections == []


# Usage


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_at_once": 0}, "max_at_once is 0"),
        ({"max_bytes": -1}, "max_bytes is -1"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": None}, "timeout is None"),
        ({"assets_url": "http://images.example"}, "expected an https:// address"),
        ({"assets_url": "http://images.example", "allow_loopback": True}, "expected an https"),
        ({"assets_url": "http://127.0.0.1:1"}, "needs allow_loopback"),
        ({"assets_url": "https://localhost"}, "needs allow_loopback"),
        ({"assets_url": 7}, "assets_url is a int"),
        ({"assets_url": "https://images.example/base_url/a b"}, "images.example/base_url/a b'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], said: str) -> None:
    """What cannot work, and what is not allowed by name, is refused at construction."""
    with pytest.raises((TypeError, ValueError), match=said):
        Downloads(**settings)


async def test_arguments_are_checked(tmp_path: Path) -> None:
    """A quality that does not exist, and what is no image, are refused at once."""
    async with scene() as (_, client):
        with pytest.raises(ValueError, match="quality is 'best'"):
            await client.download(IMAGE, tmp_path, quality="best")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        with pytest.raises(TypeError, match="image is a str"):
            await client.download("id", tmp_path)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(ClientClosed):
        await client.download(IMAGE, tmp_path)
