"""The loopback gateway: what it answers, when, and what it keeps of it."""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import json
import math
from email.utils import parsedate_to_datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async.testing import (
    DROP,
    HANG,
    PATH,
    RESET,
    TRUNCATE,
    AtRandom,
    Fault,
    Gateway,
    LeakyBucket,
    Progress,
    Query,
    Reply,
    SlidingWindow,
    TokenBucket,
)
from ideogram_async.testing._requests import RequestOptions, Requests
from tests.support.faults import FAULTS, ODD_ANSWERS, RELAY_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ideogram_async.testing import ProgressKind, RateLimit

pytestmark = pytest.mark.anyio


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def record(self) -> dict[str, Any]:
        (record,) = json.loads(self.body)["sampling_requests"]
        return dict(record)


class _Client:
    """A client that makes one query and judges nothing."""

    def __init__(self, session: aiohttp.ClientSession, gateway: Gateway) -> None:
        self.session = session
        self.gateway = gateway

    async def ask(
        self, request_id: str, headers: Mapping[str, str] | None = None, *, path: str = PATH
    ) -> _Answer:
        async with self.session.post(
            self.gateway.url + path,
            json={"request_id": request_id},
            headers=headers,
            allow_redirects=False,
        ) as answer:
            return _Answer(answer.status, answer.headers, await answer.read())


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a bare session."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Give a gateway with its defaults."""
    async with Gateway() as gateway:
        yield gateway


@pytest.fixture
async def client(session: aiohttp.ClientSession, gateway: Gateway) -> _Client:
    """Give a client of the default gateway."""
    return _Client(session, gateway)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(loop_time: float) -> None:
    await asyncio.sleep(loop_time - _now())


# Records


async def test_a_running_record_has_the_seen_shape(client: _Client, gateway: Gateway) -> None:
    """While a request runs, its size and cover are absent, and no image is listed."""
    record = (await client.ask(gateway.submit())).record
    assert record["responses"] == []
    assert record["can_upscale"] is record["is_completed"] is record["is_errored"] is False
    assert not record.keys() & {"resolution", "width", "height", "cover_response_id"}


async def test_a_finished_record_has_the_seen_shape(client: _Client, gateway: Gateway) -> None:
    """All arrives in one answer, and the cover alone has an image_url."""
    request_id = gateway.submit(images=4)
    await _until(gateway.completes_at(request_id))
    record = (await client.ask(request_id)).record
    cover, *others = record["responses"]
    assert record["completion_percentage"] == 100
    assert record["is_completed"] is record["can_upscale"] is True
    assert record["resolution"] == record["width"] == record["height"] == 1024
    assert cover["cover"] is True
    assert cover["response_id"] == record["cover_response_id"]
    assert cover["image_url"].endswith("/balanced/response/" + cover["response_id"])
    assert [other.get("image_url") for other in others] == [None] * 3


async def test_finished_answers_agree(client: _Client, gateway: Gateway) -> None:
    """Asked again, a finished request gives the same record."""
    request_id = gateway.submit(duration=0)
    assert (await client.ask(request_id)).record == (await client.ask(request_id)).record


async def test_ids_are_drawn_from_the_seed() -> None:
    """The same seed gives the same ids, of 22 URL-safe characters; another gives others."""
    mine, same, other = (Gateway(seed=seed) for seed in (1, 1, 2))
    ids = [mine.submit() for _ in range(100)]
    assert ids == [same.submit() for _ in range(100)]
    assert not set(ids) & {other.submit() for _ in range(100)}
    assert {len(request_id) for request_id in ids} == {22}
    assert any(request_id.startswith("-") or "_" in request_id for request_id in ids)


@pytest.mark.parametrize(
    ("speed", "request_type", "low", "high"),
    [(2, None, 3, 8), (0, None, 8, 15), (-2, None, 11, 25), (0, "SUPER_RES", 30, 72)],
)
async def test_durations_are_typical(
    gateway: Gateway, speed: int, request_type: str | None, low: float, high: float
) -> None:
    """Without a duration, one is drawn that was seen for the kind of request."""
    ids = [gateway.submit(sampling_speed=speed, request_type=request_type) for _ in range(50)]
    durations = [gateway.completes_at(request_id) for request_id in ids]
    assert low <= min(durations) < max(durations) <= high


async def test_a_request_may_be_older_than_the_gateway(client: _Client, gateway: Gateway) -> None:
    """A request submitted in the past is as far as its age says."""
    request_id = gateway.submit(duration=20, submitted=-10, progress="linear")
    record = (await client.ask(request_id)).record
    assert record["completion_percentage"] == 50
    assert gateway.completes_at(request_id) == 10


def test_the_options_of_a_request_are_typed_as_they_are_taken() -> None:
    """The typed options of `Gateway.submit` are the arguments that take them, no more, no less."""
    taken = inspect.signature(Requests.submit).parameters
    assert RequestOptions.__annotations__.keys() == taken.keys() - {"self"}


async def test_unknown_ids_get_what_is_set(client: _Client, gateway: Gateway) -> None:
    """An unknown id gets an empty list, or another reply, or nothing until it is visible."""
    assert json.loads((await client.ask("nobody")).body) == {"sampling_requests": []}
    gateway.unknown = Reply(404)
    request_id = gateway.submit(visible_after=3)
    assert (await client.ask(request_id)).status == 404
    await asyncio.sleep(3)
    assert (await client.ask(request_id)).status == 200


# Progress


async def _course(
    gateway: Gateway, progress: ProgressKind, *, queue: float = 0
) -> list[tuple[float | None, bool, bool, bool]]:
    """Return what is told each second of 20 seconds of work, after the queue."""
    request_id, told = gateway.submit(duration=20, queue=queue, progress=progress), []
    for second in range(int(queue) + 21):
        await _until(gateway.submissions[request_id].submitted + second)
        record = gateway.record(request_id)
        flags = (record["has_started"], record["is_completed"], record["is_errored"])
        told.append((record.get("completion_percentage"), *flags))
    return told


def _percentages(course: list[tuple[float | None, bool, bool, bool]]) -> list[float]:
    return [told[0] for told in course if told[0] is not None]


async def test_text_falls_back_when_it_starts(gateway: Gateway) -> None:
    """A text to image request tells progress while it waits, and falls to 6 at its start."""
    course = await _course(gateway, "text")
    start = next(index for index, told in enumerate(course) if told[1])
    waiting, running = _percentages(course[:start]), _percentages(course[start:])
    assert waiting == sorted(waiting)
    assert waiting[-1] > 40
    assert running == sorted(running)
    assert running[0] < 10
    assert course[-1] == (100, True, True, False)


async def test_text_as_captured(gateway: Gateway) -> None:
    """The course of a text to image request is near the captured one."""
    request_id = gateway.submit(duration=13.8)
    captured = {1.4: 5, 3.8: 33, 6.3: 6, 8.7: 35, 11.3: 65, 13.8: 100}
    for second, percentage in captured.items():
        await _until(second)
        told = gateway.record(request_id)
        assert told["completion_percentage"] == pytest.approx(percentage, abs=3)
        assert told["has_started"] is (second > 6)


@pytest.mark.parametrize("progress", ["linear", "moderated"])
async def test_linear_rises_evenly(gateway: Gateway, progress: ProgressKind) -> None:
    """A linear request tells its share of the work, and 0 in the queue."""
    course = await _course(gateway, progress, queue=5)
    assert _percentages(course) == [0] * 5 + [5 * second for second in range(21)]
    assert [told[1] for told in course] == [False] * 5 + [True] * 21


async def test_absent_tells_nothing(gateway: Gateway) -> None:
    """Without a percentage there is nothing to see until the end."""
    course = await _course(gateway, "absent", queue=5)
    assert course[:-1] == [(None, second >= 5, False, False) for second in range(25)]
    assert course[-1] == (100, True, True, False)


@pytest.mark.parametrize("progress", ["linear", "absent", "never"])
async def test_without_work_it_waits_in_the_queue(gateway: Gateway, progress: ProgressKind) -> None:
    """A request of no work has not started while it is in the queue."""
    record = gateway.record(gateway.submit(duration=0, queue=5, progress=progress))
    assert (record.get("completion_percentage", 0), record["has_started"]) == (0, False)


async def test_steps_are_quarters(gateway: Gateway) -> None:
    """A stepwise request tells quarters."""
    told = _percentages(await _course(gateway, "steps"))
    assert told == [0] * 5 + [25] * 5 + [50] * 5 + [75] * 5 + [100]


async def test_stuck_stays_at_99(gateway: Gateway) -> None:
    """An upscale tells 99 for most of its time."""
    course = await _course(gateway, "stuck")
    told = _percentages(course)
    assert told == sorted(told)
    assert told.count(99) >= 14
    assert course[-1] == (100, True, True, False)


async def test_lying_goes_up_and_down(gateway: Gateway) -> None:
    """Unrelated numbers rise and fall, and only the end tells 100."""
    told = _percentages(await _course(gateway, "lying"))
    assert told != sorted(told)
    assert max(told[:-1]) < 100 == told[-1]


async def test_never_ends(gateway: Gateway) -> None:
    """A request that never ends tells 99 days later."""
    request_id = gateway.submit(progress="never")
    await asyncio.sleep(86_400)
    assert gateway.record(request_id)["completion_percentage"] == 99
    assert gateway.completes_at(request_id) == math.inf


async def test_errored_ends_badly(gateway: Gateway) -> None:
    """A failed request turns is_errored, and never tells 100."""
    course = await _course(gateway, "errored")
    assert max(_percentages(course)) < 100
    assert [told[3] for told in course] == [False] * 20 + [True]


async def test_any_kind_may_be_errored(gateway: Gateway) -> None:
    """A record may be at 100 % and errored at once."""
    record = gateway.record(gateway.submit(duration=0, errored=True))
    assert (record["completion_percentage"], record["is_errored"]) == (100, True)
    assert record["responses"] == []


async def test_moderated_has_no_images(gateway: Gateway) -> None:
    """A moderated request is complete without images."""
    record = gateway.record(gateway.submit(duration=0, progress="moderated"))
    assert (record["is_completed"], record["responses"]) == (True, [])
    assert "cover_response_id" not in record


async def test_progress_of_ones_own(gateway: Gateway) -> None:
    """A function of elapsed, queue and duration decides what is told."""
    request_id = gateway.submit(
        duration=5, queue=2, progress=lambda *times: Progress(sum(times) + 0.5)
    )
    await asyncio.sleep(1)
    assert gateway.record(request_id)["completion_percentage"] == 8.5


@given(submitted=st.floats(-1e4, 1e4), queue=st.floats(0, 100), duration=st.floats(0.001, 100))
def test_completion_is_exact(submitted: float, queue: float, duration: float) -> None:
    """A request is complete from completes_at on, and not a rounding error before."""

    async def main() -> None:
        gateway = Gateway()
        request_id = gateway.submit(
            submitted=submitted, queue=queue, duration=duration, progress="linear"
        )
        submission = gateway.submissions[request_id]
        end = gateway.completes_at(request_id)
        assert submission.told(end).ended
        assert not submission.told(math.nextafter(end, -math.inf)).ended

    asyncio.run(main())


# Keys


@pytest.mark.parametrize(
    ("tokens", "access_tokens", "headers", "status"),
    [
        ("", "", {}, 200),
        ("", "", {"Authorization": "Bearer x"}, 200),
        ("a", "", {"Authorization": "Bearer a"}, 200),
        ("a", "", {"authorization": "bearer a", "Access-Token": "wrong"}, 200),
        ("a", "", {"Authorization": "Bearer b"}, 401),
        ("a", "", {"Authorization": "a"}, 401),
        ("a", "", {"Access-Token": "a"}, 401),
        ("a", "", {}, 401),
        ("", "a", {"Access-Token": "a"}, 200),
        ("", "a", {"Authorization": "Bearer a"}, 401),
        ("a", "b", {"Authorization": "Bearer a"}, 200),
        ("a", "b", {"Access-Token": "b"}, 200),
        ("a", "b", {"Authorization": "Bearer a", "Access-Token": "b"}, 200),
        ("a", "b", {"Authorization": "Bearer a", "Access-Token": "a"}, 401),
        ("a", "b", {"Authorization": "Bearer b", "Access-Token": "b"}, 401),
        ("a", "b", {}, 401),
    ],
)
async def test_header_styles(
    session: aiohttp.ClientSession,
    tokens: str,
    access_tokens: str,
    headers: dict[str, str],
    status: int,
) -> None:
    """A style with keys is checked; with both, one right key is enough and none may be wrong."""
    async with Gateway(tokens=tokens, access_tokens=access_tokens) as gateway:
        answer = await _Client(session, gateway).ask(gateway.submit(), headers)
    assert answer.status == status
    if status == 401:
        assert json.loads(answer.body)["error"]["type"] == "one_api_error"


async def test_keys_change_while_it_runs(session: aiohttp.ClientSession) -> None:
    """A revoked key is refused even if it was the only one, and may be accepted again."""
    async with Gateway(access_tokens=["a"], keep_headers=True) as gateway:
        client, request_id = _Client(session, gateway), gateway.submit()
        gateway.revoke("a")
        assert (await client.ask(request_id, {"Access-Token": "a"})).status == 401
        gateway.accept("a")
        assert (await client.ask(request_id, {"Access-Token": "a"})).status == 200
        gateway.accept("new")
        assert (await client.ask(request_id, {"Authorization": "Bearer new"})).status == 200
    assert [query.key for query in gateway.queries] == ["a", "a", "new"]
    headers = gateway.queries[-1].headers
    assert headers is not None
    assert headers["authorization"] == "Bearer new"


# Accounts of the queries, clocks and latencies


async def test_each_query_is_kept(client: _Client, gateway: Gateway) -> None:
    """A query tells when it came, what for, and what it got and when."""
    request_id = gateway.submit()
    await asyncio.sleep(5)
    await client.ask(request_id, {"Authorization": "Bearer key"})
    assert gateway.queries == [Query(5.0, 1, "key", None, "POST", PATH, request_id, 200, 5.1)]


async def test_queries_in_flight_are_counted(client: _Client, gateway: Gateway) -> None:
    """The gateway knows how many queries it had at once, and their connections."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.ask(gateway.submit())) for _ in range(7)]
        await asyncio.sleep(0.05)
        assert gateway.in_flight == 7
        assert all(math.isnan(query.answered) for query in gateway.queries)
        tasks[0].cancel()
        await asyncio.sleep(0.01)
        assert gateway.in_flight == 6
    await client.ask("again")
    assert (gateway.in_flight, gateway.peak_in_flight, gateway.connections) == (0, 7, 7)


@pytest.mark.parametrize(
    ("latency", "low", "high"), [(0.0, 0, 0), (2.5, 2.5, 2.5), ((1, 2), 1, 2), (lambda: 3.0, 3, 3)]
)
async def test_latency(
    client: _Client, gateway: Gateway, latency: Any, low: float, high: float
) -> None:
    """A query takes a time that is given, drawn from a range, or computed."""
    gateway.latency = latency
    for _ in range(20):
        await client.ask("id")
    took = [query.answered - query.at for query in gateway.queries]
    assert low == pytest.approx(min(took), abs=0.2)
    assert high == pytest.approx(max(took), abs=0.2)
    assert len({round(seconds, 6) for seconds in took}) == (1 if low == high else 20)


async def test_one_clock(session: aiohttp.ClientSession) -> None:
    """Date and creation_time_float tell one virtual time, which an offset shifts."""
    async with Gateway(epoch=1_000_000_000, clock_offset=-30) as gateway:
        await asyncio.sleep(3600)
        request_id = gateway.submit()
        answer = await _Client(session, gateway).ask(request_id)
        date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        assert answer.record["creation_time_float"] == date == 1_000_003_570
        gateway.clock_offset = 86_400
        assert gateway.now() == 1_000_090_000.1


async def test_an_idle_connection_is_kept_for_its_time(session: aiohttp.ClientSession) -> None:
    """Keep-alive is settable, and on the loop's clock."""
    async with Gateway(keepalive=5) as gateway:
        for seconds in (4, 6):
            await _Client(session, gateway).ask("id")
            await asyncio.sleep(seconds)
        await _Client(session, gateway).ask("id")
    assert gateway.connections == 2


# Limits


_TIMES = st.lists(st.integers(0, 40), max_size=60).map(
    lambda gaps: [sum(gaps[: index + 1]) / 8 for index in range(len(gaps))]
)


@given(times=_TIMES, count=st.integers(1, 6), seconds=st.integers(1, 80).map(lambda n: n / 8))
def test_sliding_window_by_definition(times: list[float], count: int, seconds: float) -> None:
    """A query is admitted exactly if fewer than `count` were in the `seconds` before it."""
    limit, admitted = SlidingWindow(count, seconds), list[float]()
    for now in times:
        recent = sum(now - seconds < then for then in admitted)
        wait = limit.wait(now, None)
        assert limit.admit(now, None) is (recent < count) is (wait == 0)
        admitted += [now] if recent < count else []


def _overfull(admitted: list[float], now: float, rate: int, burst: int) -> bool:
    """Tell whether one more query would exceed `burst + rate * t` over some time."""
    times = [*admitted, now]
    return any(
        len(times) - index > burst + rate * (Fraction(now) - Fraction(then))
        for index, then in enumerate(times)
    )


@given(times=_TIMES, rate=st.integers(1, 4), burst=st.integers(1, 5))
def test_buckets_by_definition(times: list[float], rate: int, burst: int) -> None:
    """Both buckets admit all they can of at most `burst + rate * t` queries in any t."""
    limits = TokenBucket(rate, burst), LeakyBucket(rate, burst - 1)
    admitted = list[float]()
    for now in times:
        right = not _overfull(admitted, now, rate, burst)
        assert [limit.wait(now, None) <= 1e-9 for limit in limits] == [right, right]
        assert [limit.admit(now, None) for limit in limits] == [right, right]
        admitted += [now] if right else []


@given(
    limit=st.sampled_from([SlidingWindow, TokenBucket, LeakyBucket]),
    first=st.integers(1, 7),
    second=st.integers(1, 7),
    now=st.floats(0, 1e5),
)
def test_waiting_as_told_is_enough(limit: Any, first: int, second: int, now: float) -> None:
    """After a refusal, a query is admitted once the time told has passed, and not well before."""
    bucket: RateLimit = limit(first, second)
    while bucket.admit(now, None):
        pass
    wait = bucket.wait(now, None)
    assert not bucket.admit(now + wait * 0.99, None)
    assert bucket.admit(now + wait + 1e-6, None)


async def test_a_limit_refuses(client: _Client, gateway: Gateway) -> None:
    """What is beyond the limit is refused, counted, and answered in its own time."""
    gateway.limit, gateway.refusal_latency = SlidingWindow(2, 10), 0.01
    answers = [await client.ask("id") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429, 429]
    assert answers[-1].body == b""
    assert "Content-Type" not in answers[-1].headers
    assert gateway.refused == 3
    assert gateway.queries[-1].answered - gateway.queries[-1].at == pytest.approx(0.01)
    gateway.limit = None
    assert (await client.ask("id")).status == 200


async def test_nginx_refuses_with_a_page(client: _Client, gateway: Gateway) -> None:
    """A leaky bucket answers as nginx: 503 as HTML, and no Retry-After."""
    gateway.limit = LeakyBucket(1, 0)
    await client.ask("id")
    answer = await client.ask("id")
    assert (answer.status, answer.headers["Content-Type"]) == (503, "text/html")
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("form", ["seconds", "date", "soon"])
async def test_retry_after(client: _Client, gateway: Gateway, form: str) -> None:
    """Retry-After is told as seconds, as a date, or as any text."""
    gateway.limit = SlidingWindow(1, 60, retry_after=form, body="relay", status=420)
    await client.ask("id")
    answer = await client.ask("id")
    told = answer.headers["Retry-After"]
    assert answer.status == 420
    assert json.loads(answer.body)["error"]["message"]
    if form == "date":
        assert parsedate_to_datetime(told).timestamp() == pytest.approx(gateway.now() + 60, abs=1)
    else:
        assert told == {"seconds": "60", "soon": "soon"}[form]


async def test_a_limit_by_key(client: _Client, gateway: Gateway) -> None:
    """Counted by key, one key's queries take nothing from another's."""
    gateway.limit = TokenBucket(0.01, 1, by="key")
    keys = ["Bearer a", "Bearer a", "Bearer b", "Bearer b"]
    answers = [await client.ask("id", {"Authorization": key}) for key in keys]
    assert [answer.status for answer in answers] == [200, 429, 200, 429]


async def test_refusals_at_random(client: _Client, gateway: Gateway) -> None:
    """A share of the queries is refused whatever their rate."""
    gateway.limit = AtRandom(0.3)
    for _ in range(200):
        await client.ask("id")
    assert 40 < gateway.refused < 80


# Faults


@pytest.mark.parametrize("name", [*RELAY_ERRORS, *ODD_ANSWERS])
async def test_every_fault_arrives(client: _Client, gateway: Gateway, name: str) -> None:
    """A ready-made fault befalls one query, and the next is answered well."""
    request_id, fault = gateway.submit(duration=0), FAULTS[name]
    right = await client.ask(request_id)
    gateway.script(fault)
    try:
        answer = await client.ask(request_id)
    except aiohttp.ClientError:
        assert name in {"bad gzip", "300 headers", "header of 100 KB"}
    else:
        assert answer.status == (fault.status if isinstance(fault, Reply) else 200)
        assert answer.body != right.body
    assert (await client.ask(request_id)).body == right.body


def test_the_error_table_is_whole() -> None:
    """Every status of the contract's table has a fault."""
    statuses = {fault.status for fault in RELAY_ERRORS.values() if isinstance(fault, Reply)}
    assert statuses == {200, 400, 401, 403, 404, 429, 502, 503, 504, *range(520, 527)}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (DROP, aiohttp.ServerDisconnectedError),
        (RESET, ConnectionResetError),
        (TRUNCATE, aiohttp.ClientPayloadError),
    ],
)
async def test_broken_connections(
    client: _Client, gateway: Gateway, fault: Fault, error: type[Exception]
) -> None:
    """A connection ends by FIN or RST before the answer, or amid it."""
    request_id = gateway.submit()
    gateway.script(fault)
    with pytest.raises(aiohttp.ClientError) as broken:
        await client.ask(request_id)
    assert isinstance(broken.value, error) or isinstance(broken.value.__cause__, error)
    assert math.isnan(gateway.queries[0].answered)
    assert (await client.ask(request_id)).status == 200
    assert gateway.connections == 2


async def test_a_query_may_hang(client: _Client, gateway: Gateway) -> None:
    """A hanging query gets no answer however long one waits."""
    gateway.script(HANG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3000):
            await client.ask("id")
    assert (await client.ask("id")).status == 200


async def test_a_script_chooses_its_queries(client: _Client, gateway: Gateway) -> None:
    """Faults wait for their id or key, for as many times as told, in order."""
    gateway.script(Reply(500), times=2, request_id="a")
    gateway.script(Reply(502), key="k")
    gateway.script(Reply(504), times=math.inf)
    asked = [("b", "k"), ("b", "k"), ("a", "k"), ("a", ""), ("a", ""), ("c", "")]
    answers = [await client.ask(name, {"Authorization": f"Bearer {key}"}) for name, key in asked]
    assert [answer.status for answer in answers] == [502, 504, 500, 500, 504, 504]
    gateway.clear_script()
    assert (await client.ask("a")).status == 200


async def test_what_a_scene_cannot_hold_is_refused(gateway: Gateway) -> None:
    """A kind of progress that there is not, and a fault for no query, are errors at once."""
    for kind in ("none", None):
        with pytest.raises(ValueError, match="expected a function, or one of text, linear"):
            gateway.submit(progress=kind)  # type: ignore[arg-type]
    for times in (0, -1, math.nan):
        with pytest.raises(ValueError, match="expected at least 1"):
            gateway.script(Reply(500), times=times)
    assert gateway.submissions == {}


async def test_a_reply_may_take_its_own_time(client: _Client, gateway: Gateway) -> None:
    """A scripted reply may have a delay of its own."""
    gateway.script(Reply(500, delay=12))
    await client.ask("id")
    assert gateway.queries[0].answered == 12


async def test_a_reply_may_have_its_own_headers(client: _Client, gateway: Gateway) -> None:
    """Headers are sent as they stand, repeated ones too; none of them is added twice."""
    date, twice = ("Date", "yesterday"), ("X-Header", "x")
    gateway.script(Reply(200, [date, ("Content-Length", "2"), twice, twice], b"OK"))
    headers = (await client.ask("id")).headers
    assert list(headers.items()) == [date, ("Content-Length", "2"), twice, twice]


async def test_a_function_may_choose(client: _Client, gateway: Gateway) -> None:
    """on_query sees each query and may answer in the gateway's place."""
    gateway.on_query = lambda query: Reply(418) if query.request_id == "tea" else None
    answers = [await client.ask(name) for name in ("tea", "id")]
    assert [answer.status for answer in answers] == [418, 200]


async def test_wrong_addresses(client: _Client, gateway: Gateway) -> None:
    """Another path or method gets the relay's 404, and a malformed body a 400."""
    url = gateway.url + PATH
    answer = await client.ask("id", path="/elsewhere")
    assert answer.status == 404
    assert json.loads(answer.body)["error"]["message"] == "Invalid URL (POST /elsewhere)"
    async with client.session.get(url) as got:
        assert (got.status, (await got.json())["error"]["message"]) == (
            404,
            f"Invalid URL (GET {PATH})",
        )
    for body in (b"", b"{", b"[]", b"{}", b'{"request_id": 1}', b"\xff"):
        async with client.session.post(url, data=body) as got:
            assert got.status == 400


async def test_a_path_before_the_path(session: aiohttp.ClientSession) -> None:
    """A gateway under a path answers there alone, and may serve more."""

    async def image(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"image", content_type="image/png")

    async with Gateway(path_prefix="/relay/") as gateway:
        gateway.route("/images/", image)
        assert gateway.url.endswith("/relay")
        assert (await _Client(session, gateway).ask(gateway.submit())).status == 200
        async with session.get(gateway.url + "/images/1") as answer:
            assert await answer.read() == b"image"
        async with session.post(gateway.url.removesuffix("/relay") + PATH) as answer:
            assert answer.status == 404


# Outages and the end


async def test_an_outage(client: _Client, gateway: Gateway) -> None:
    """While it is down open queries are reset and new ones refused; then it is back."""
    url, request_id = gateway.url, gateway.submit()
    open_query = asyncio.create_task(client.ask(request_id))
    await asyncio.sleep(0.05)
    async with gateway.down():
        assert gateway.in_flight == 0
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            await open_query
        with pytest.raises(aiohttp.ClientConnectorError) as refusal:
            await client.ask(request_id)
        assert refusal.value.errno == errno.ECONNREFUSED
        await asyncio.sleep(600)
    assert gateway.url == url
    assert (await client.ask(request_id)).status == 200


@pytest.mark.parametrize("turns", range(12))
async def test_no_query_slips_through(client: _Client, gateway: Gateway, turns: int) -> None:
    """However far a query has come when the gateway goes down, it gets no answer."""
    asking = asyncio.create_task(client.ask(gateway.submit()))
    for _ in range(turns):
        await asyncio.sleep(0)
    async with gateway.down():
        await asyncio.sleep(1)
        assert asking.done()
        assert isinstance(asking.exception(), aiohttp.ClientError)


async def test_stopping_and_starting_twice(client: _Client, gateway: Gateway) -> None:
    """To stop or start what is stopped or started already changes nothing."""
    await gateway.stop()
    await gateway.stop()
    await gateway.start()
    await gateway.start()
    assert (await client.ask("id")).status == 200


async def test_it_closes_with_queries_open(session: aiohttp.ClientSession) -> None:
    """Closing takes no time and leaves no task, even amid hanging and slow queries."""
    before = asyncio.all_tasks()
    async with Gateway(latency=1000) as gateway:
        gateway.script(HANG, times=5)
        client = _Client(session, gateway)
        tasks = [asyncio.create_task(client.ask("id")) for _ in range(10)]
        await asyncio.sleep(1)
        assert gateway.in_flight == 10
    assert _now() == 1
    assert gateway.in_flight == 0
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ServerDisconnectedError) for result in results)
    await gateway.close()
    gc.collect()
    assert asyncio.all_tasks() == before


async def test_it_closes_when_cancelled(session: aiohttp.ClientSession) -> None:
    """A block that is cancelled closes its gateway all the same."""
    gateway = Gateway()

    async def ask_in_vain() -> None:
        async with asyncio.timeout(5), gateway:
            gateway.script(HANG)
            await _Client(session, gateway).ask("id")

    with pytest.raises(TimeoutError):
        await ask_in_vain()
    assert gateway.in_flight == 0
    with pytest.raises(aiohttp.ClientConnectorError):
        await _Client(session, gateway).ask("id")
