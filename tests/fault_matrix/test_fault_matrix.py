"""The fault matrix: a row a fault, the promise that it tests, and what must come of it.

Each row injects its fault over the wire, or into the process, and sees that it fired. Whatever
the fault, every row also checks that each id has ended exactly once, that no more queries than
allowed were ever in flight, that the errors can be pickled, that no key stands in them or in the
logs, and that after closing no query, task or connection is left.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from ideogram_async import (
    AuthenticationError,
    BaseURLError,
    FixedInterval,
    InvalidResponseError,
    RequestFailed,
    RequestNotFound,
)
from tests.fault_matrix import departures, keys, scripts
from tests.fault_matrix import disruptions as d
from tests.fault_matrix.scene import (
    NO_KEY,
    Row,
    asked_again,
    delays_the_id,
    ends_the_run,
    fails_alone,
    holds_the_session,
    read_at_once,
    row,
    staged,
)
from tests.fault_matrix.scripts import after_a_while, error_of, page, progress
from tests.support import nginx
from tests.support.calls import CALLS
from tests.support.canary import CANARY
from tests.support.programs import SIGINT_AGAIN
from tests.support.raw_server import End, record, reply
from tests.support.wire_faults import BROKEN, LATE

pytestmark = pytest.mark.anyio

_DATE = "Date: Tue, 14 Nov 2023 22:13:20 GMT"
_LATER = "Retry-After: Tue, 14 Nov 2023 22:13:50 GMT"
_ELSEWHERE = "Location: https://elsewhere.example/api/ideogram/task-request"

WIRE = [
    *(asked_again(2, name, *[choice] * 2) for name, choice in {**BROKEN, **scripts.CUT}.items()),
    *(asked_again(11, name, *[choice] * 2) for name, choice in LATE.items()),
    *(asked_again(16, name, *[choice] * 2) for name, choice in scripts.LARGE.items()),
]

ANSWERS = [
    *(
        asked_again(4, name, *[after_a_while(answer)] * 2)
        for name, answer in {**scripts.NOT_DONE, **scripts.NO_ANSWER}.items()
    ),
    asked_again(
        4, "progress going backwards", *(after_a_while(progress(raw)) for raw in ("60", "33", "99"))
    ),
    *(
        asked_again(3, name, *[after_a_while(answer)] * 2)
        for name, answer in scripts.NOT_OURS.items()
    ),
    *(read_at_once(2, name, after_a_while(a)) for name, a in scripts.GOOD_ENOUGH.items()),
    fails_alone(
        1, "is_errored at 100 %", [reply({**record("sick"), "is_errored": True})], 1, RequestFailed
    ),
    fails_alone(1, "no answer, again and again", [reply(b"OK")], 5, InvalidResponseError),
    fails_alone(
        3, "another id's, again and again", [reply(record("other"))], 5, InvalidResponseError
    ),
    fails_alone(
        16,
        "too large, again and again",
        scripts.LARGE["zip bomb"],
        5,
        InvalidResponseError,
        words="max_body",
    ),
]

STATUSES = [
    *(
        fails_alone(1, status, after_a_while(error_of(status, "no")), 5, RequestNotFound)
        for status in ("404 Not Found", "400 Bad Request", "422 Unprocessable Content")
    ),
    fails_alone(
        1, "empty list", after_a_while(reply(b'{"sampling_requests":[]}')), 5, RequestNotFound
    ),
    *(
        asked_again(5, name, *[after_a_while(answer)] * 2)
        for name, answer in scripts.TRANSIENT.items()
    ),
    *(
        asked_again(5, f"{status}, twice", *[after_a_while(error_of(status, "no such task"))] * 2)
        for status in ("404 Not Found", "400 Bad Request", "422 Unprocessable Content")
    ),
    holds_the_session(8, "429 with 7 s", reply(b"", "429 X", "Retry-After: 7"), 7, 7.7),
    holds_the_session(8, "503 with 7 s", reply(b"", "503 X", "Retry-After: 7"), 7, 7.7),
    holds_the_session(8, "429 with a date", reply(b"", "429 X", _DATE, _LATER), 30, 33),
    holds_the_session(8, "429 with a year", reply(b"", "429 X", "Retry-After: 9999999"), 300, 330),
    delays_the_id(8, "502 with 7 s", reply(b"", "502 X", "Retry-After: 7"), 7, 7.7),
    *(
        holds_the_session(
            8, f"429 with {wait}", reply(b"", "429 X", f"Retry-After: {wait}"), 0.16, 0.19
        )
        for wait in ("nan", "-5", "inf", "1e3", "0", "soon")
    ),
    holds_the_session(
        9, "429, empty body", b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", 0.16, 0.19
    ),
    holds_the_session(
        9, "429, two objects", reply(b'{"error":{"message":"a"}}' * 2, "429 X"), 0.16, 0.19
    ),
    holds_the_session(9, "503 HTML, as nginx words it", page("503 X"), 0.16, 0.19),
    ends_the_run(
        10,
        "401 for the only key",
        error_of("401 X", "bad key"),
        AuthenticationError,
        words="the key was refused: 401: bad key",
    ),
    ends_the_run(
        10, "403 for the only key", error_of("403 X", "no"), AuthenticationError, words="403"
    ),
    ends_the_run(
        10,
        "429 with the quota used up",
        error_of("429 X", "no quota", "insufficient_user_quota"),
        AuthenticationError,
        words="no quota",
    ),
    ends_the_run(
        5,
        "404 Invalid URL",
        error_of("404 X", "Invalid URL (POST /)"),
        BaseURLError,
        words="takes no queries",
    ),
    *(
        ends_the_run(
            14,
            f"{status} to another origin",
            reply(b"", f"{status} X", _ELSEWHERE),
            BaseURLError,
            words="https://elsewhere.example",
        )
        for status in (301, 302, 303, 307, 308)
    ),
]

CONNECTIONS = [
    *(
        row(
            6,
            f"{end.name} on a reused connection",
            "replayed once, at once",
            d.dies_when_reused(end),
        )
        for end in (End.CLOSE, End.RESET)
    ),
    *(
        row(6, f"{end.name} on two reused connections", "one replay alone", d.dies_twice(end))
        for end in (End.CLOSE, End.RESET)
    ),
    *(
        row(6, f"{end.name} right after the answer", "no id waits", d.closed_after_its_answer(end))
        for end in (End.CLOSE, End.RESET)
    ),
    row(6, "one answer in five a reset", "never beyond the limit", d.resets_at_random),
    *(
        row(3, f"late extra answer: {name}", "credited to nothing", d.late_extra_answer(extra))
        for name, extra in d.EXTRA.items()
    ),
    row(3, "late extra answer in two parts", "credited to nothing", d.extra_answer_in_two_parts),
    row(3, "answers one behind", "credited to nothing", d.answers_one_behind),
    row(11, "no connection", "ended by connect_timeout", d.never_connects),
    row(11, "stalled handshake", "ended by connect_timeout, no key sent", d.stalled_handshake),
    row(14, "certificate of nobody", "ends the run, no key sent", d.untrusted()),
    row(14, "another host's certificate", "as above", d.untrusted(host="other.example")),
    row(
        14,
        "expired certificate",
        "as above",
        d.untrusted(not_after=datetime(2020, 1, 1, tzinfo=UTC)),
    ),
    row(5, "name not found", "no id fails; all complete soon after", d.name_not_found),
    row(5, "name that does not exist", "ends the run within 40 s", d.name_unknown),
    row(13, "name moves", "asked there within 300 s", d.name_moves),
    row(13, "no descriptors left", "goes on when there are", d.no_descriptors),
    row(13, "100 broken connections", "no descriptor is left", d.connections_come_and_go),
]

GATEWAYS = [
    *(
        row(7, f"ten minutes of a gateway that {kind}", "probes alone, no id fails", d.gone(kind))
        for kind in ("refuses", "errs", "says nothing")
    ),
    row(5, "half of all answers fail", "all complete", d.half_of_all_fail),
    row(7, "reload storm", "all complete", d.reloads),
    row(7, "reload storm of a real nginx", "all complete", nginx.reload_storm),
    row(9, "limit_req of a real nginx", "few are refused, all complete", nginx.limit_req),
    row(
        7,
        "one reload under all that is in flight",
        "no breaker opens",
        d.one_reload,
        max_in_flight=8,
    ),
]

KEYS = [
    *(
        row(
            10,
            f"{kind} for one key of two",
            "out of use, one probe every 60 s, back in use",
            keys.one_refused(kind),
            credentials=keys.TWO,
            schedule=FixedInterval(3.0),
            **NO_KEY,
        )
        for kind in ("401", "403", "quota")
    ),
    row(
        10,
        "401 for both keys",
        "ends promptly; a new run asks at once",
        keys.all_refused,
        credentials=keys.TWO,
        **NO_KEY,
    ),
    row(15, "netrc, proxies, a cookie", "none is used", keys.nothing_ambient),
]

CALLERS = [
    *(
        row(
            12,
            f"{call.__name__} cancelled at every await",
            "nothing is asked any more",
            departures.cancelled_at_every_await(call),
            **departures.PLAIN,
        )
        for call in CALLS
    ),
    *(
        row(12, name, "nothing is asked any more", play, **departures.PLAIN)
        for name, play in departures.LEAVING.items()
    ),
    row(12, "closed under hanging queries", "within 5 s, every id listed", departures.closed),
    row(12, "SIGINT", "ends promptly and quietly", departures.interrupted_once),
    *(
        row(12, f"SIGINT, again {when}", "ends promptly", departures.interrupted(body))
        for when, body in SIGINT_AGAIN.items()
    ),
    row(
        17,
        "a schedule that raises",
        "fails its id alone",
        departures.sick_schedule,
        schedule=departures.SickSchedule(),
    ),
    row(
        1,
        "a source of ids that raises",
        "comes out unwrapped, the ids before it done",
        departures.sick_source,
    ),
    row(1, "bad ids among others", "fail alone", departures.bad_ids),
    *(
        row(
            8, f"the wall clock jumps by {days} days", "moves no query", departures.wall_clock(days)
        )
        for days in (3, -3)
    ),
    row(
        5,
        "suspended for an hour",
        "due polls are spread, no id fails",
        departures.suspended,
        schedule=FixedInterval(3.0),
    ),
    row(19, "another thread", "refused at once", departures.another_thread),
    row(19, "another loop", "refused at once", departures.another_loop),
    row(19, "a fork", "refused at once in the child", departures.forked),
    row(19, "after closing", "refused at once", departures.after_closing),
    row(20, "a consumer 100 times slower", "loses nothing, stops nobody", departures.slow_consumer),
    row(20, "a watcher 100 times slower", "has the last of each id", departures.slow_watcher),
]

ROWS: list[Row] = [*WIRE, *ANSWERS, *STATUSES, *CONNECTIONS, *GATEWAYS, *KEYS, *CALLERS]


PLAYED = [
    *(pytest.param(row, None, id=str(row)) for row in ROWS),
    *(pytest.param(row, "plain", id=f"{row}, plain lane") for row in [*WIRE, *CONNECTIONS]),
]


@pytest.mark.parametrize(("row", "lane"), PLAYED, indirect=["lane"])
async def test_fault(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that was seen to fire costs what its row says, and breaks no promise."""
    caplog.set_level(logging.DEBUG)
    async with staged(**row.settings) as scene:
        await row.play(scene)
    assert CANARY not in caplog.text


def test_the_matrix_is_whole() -> None:
    """Each row has a name of its own."""
    assert len({str(row) for row in ROWS}) == len(ROWS) >= 45
