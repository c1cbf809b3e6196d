"""The limiter of one member: it sends at its share of the rate of all, and reports what it did."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Callable

import anyio
import msgspec

from ideogram_async._fleet.activity import Activity
from ideogram_async._fleet.fleet_rate import FleetRate
from ideogram_async._fleet.link import Link
from ideogram_async._fleet.messages import Announcement, Reply, Report, State
from ideogram_async._fleet.slots import Slots, SlotShare
from ideogram_async._limiter import LimitSource, check_cancelled
from ideogram_async._logging import logger
from ideogram_async._schedules.adaptive import AdaptiveSchedule
from ideogram_async._schedules.learned import CompletionSample

_read_sample = msgspec.json.Decoder(CompletionSample).decode

REPORT_SECONDS, LONGEST_REPORT_SECONDS = 0.26, 2.0
"""Seconds between two reports of all members together: at 98 queries per second one for 25, which
leaves room for those of changes. A member shows at least every 2 s that it is alive."""
LEAD_SECONDS = 0.25
"""Seconds between two reports of the member that leads, where the limit is to be found."""
LOOK_SECONDS = 0.05
"""Seconds between two looks whether far more ids are due than were reported, or far fewer, while
the member has work: one that begins reports at once."""
DUE_CHANGE, DUE_CHANGE_SECONDS = 1.5, 0.7
"""Times as many due ids as were reported, or as few, that are reported at once, if the difference
is more than the member asks in so many seconds."""
REPORT_GAP_SECONDS = 0.02
"""Seconds between two reports, where there is something urgent."""
FIRST_SAMPLES = 16
"""Completions of all that are reported at once: the first ones teach most of how long requests
take."""
RETRY_SECONDS = 0.5
"""Seconds between two tries to reach the coordinator."""
LEAVE_SECONDS = 1.0
"""Seconds that a member may take to say that it leaves."""
FIRST_RATE = 20.0
"""Queries per second of all together, until the first reply: the rate limiter's own start."""
FIRST_SHARE = 0.1
"""The share of a member that never had a reply: it does not know how many others there are."""
NO_SHARE = 0.02
"""The largest share that an idle member has."""
LOWEST_RATE = 0.01
"""Queries per second that a share is at least."""
UNLIMITED_RATE = 1e6
"""Queries per second of all together where nothing limits them: of infinity there is no share."""
ALONE_HOLD_SECONDS = 1.0
ALONE_KEPT = 0.7
"""A refusal while the link is cut: a pause of so many seconds at least, and so much of the rate."""


class FleetMember:
    """A limiter for one client at a time of those that share one rate, told or found.

    Each has a share of it, by its due and its pending ids, and all stop where one is refused.

    Args:
        connect: Returns the link, for the name of the keys' budget.
        coordinator: What the log calls the other end of the link.
        max_rate: Queries per second of all together. Default: None, the limit is found.

    Raises:
        ValueError: `max_rate` is not above 0.

    """

    def __init__(
        self, connect: Callable[[str], Link], coordinator: str, max_rate: float | None
    ) -> None:
        self._connect = connect
        self._coordinator = coordinator
        self._found = FleetRate(max_rate)
        self.rate: float = min(self._found.told, FIRST_RATE if max_rate is None else math.inf)
        """Queries per second that this member may send, as soon as some wait."""
        self.held_until: float = -math.inf
        """Until when all stop."""
        self.is_probing: bool = False
        """Whether one query of one member is to find out if more are accepted."""
        self.fleet_size: int = 1
        """How many share the rate, as far as is known: they divide the first room of a key, too."""
        self._source: LimitSource = "none"
        self._share, self._prospect, self._first = 0.0, 1.0, 0.0
        self._all, self._slot = self.rate, (0.0, 0.0)
        self._pace = Slots(LOWEST_RATE)
        # The part of the share that is left while the link is cut. Ids are placed as if it were
        # all: else they would come behind all others for long, once the link is back.
        self._alone, self._held_alone = 1.0, -math.inf
        self._may_probe = False
        self._sought = math.nan  # the hold in which it has said that it could probe
        self._probe_asked = math.inf
        self._id = secrets.token_hex(8)
        self._is_running = False
        self._is_away: bool | None = None
        self._behind = 0.0
        self._pending = 0.0
        self._waits = self._is_idle = False
        self._done = Activity()
        self._completions = 0
        self._schedule: AdaptiveSchedule | None = None
        self._count_due: Callable[[float], int] = lambda _: 0
        self._due, self._pushed = 0, 0
        self._leads = False
        self._look = asyncio.Event()
        self._is_urgent = False
        self._changed: Callable[[], None] = lambda: None

    # As a limiter

    @property
    def source(self) -> LimitSource:
        """How the limit of all is known."""
        if self._found.told < math.inf:
            return "told"
        return "found" if self.is_probing else self._source

    def opens_at(self, now: float) -> float:  # noqa: ARG002 - the protocol's
        """Return when the next query may be sent; inf while another member probes."""
        if self.is_probing and not self._may_probe:
            return math.inf
        opens_at = self._pace.opens_at
        return opens_at if opens_at > self.held_until else self.held_until  # noqa: FURB136 - no `max`

    def wait(self, pending: float) -> None:
        """Record that a due query waits for the rate."""
        self._pending = pending
        self._waits = True
        self._pace.wait()
        could_probe = not self._may_probe and self._sought != self.held_until
        if could_probe if self.is_probing else self._is_idle:
            self._report_soon(is_urgent=False)

    def sent(self, now: float, *, paced: bool = True) -> None:
        """Record that a query goes out."""
        self._done.add_sent()
        if self.is_probing:
            self._may_probe, self._probe_asked = False, now
        elif paced:
            self._pace.sent(now)

    def accepted(self, asked: float, now: float) -> None:  # noqa: ARG002 - the protocol's
        """Record that the gateway read a query."""
        self._done.add_accepted(asked)
        if self.is_probing and asked >= self._probe_asked:
            self._report_soon()

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        """Record a refusal. What it means for all is decided by whoever leads."""
        if self._is_away:
            seconds = max(ALONE_HOLD_SECONDS, retry_after or 0.0)
            if now >= self.held_until:
                self._alone *= ALONE_KEPT
                self._keep_share(now)
            self.hold(now + seconds, now)
        else:
            self._done.add_refusal(asked, retry_after)
            self._report_soon()
        return False

    def announced(self, remaining: float, seconds: float, now: float) -> None:
        """Record that, by an answer's headers, so many more queries are allowed within a time."""
        self._done.add_header(remaining, seconds, now)
        if remaining < 1:
            self._report_soon()

    def hold(self, until: float, now: float) -> None:  # noqa: ARG002 - the protocol's
        """Send nothing from this member until then."""
        self._held_alone = max(self._held_alone, until)
        self.held_until = max(self.held_until, until)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call back at each change of the share, and when all stop.

        Raises:
            RuntimeError: Another client uses this limiter.

        """
        self._check_free()
        self._changed = changed

    def attach(self, schedule: object, count_due: Callable[[float], int]) -> None:
        """Share by the due ids of the client, and let its schedule learn with the others'.

        A schedule whose samples go elsewhere already is left alone.
        """
        self._count_due = count_due
        self._schedule = None
        if isinstance(schedule, AdaptiveSchedule) and schedule.on_sample is None:
            self._schedule = schedule

    # In the background

    async def run(self, budget: str) -> None:
        """Report until cancelled."""
        self._check_free()
        self._is_running, self._look = True, asyncio.Event()
        link = self._connect(budget)
        if self._schedule is not None:
            self._schedule.on_sample = self._add_sample
        try:
            while True:
                try:
                    await self._stay(link)
                except* OSError as errors:
                    self._lose(errors.exceptions[0])
                check_cancelled()  # as the link failed, which hid it
                await anyio.sleep(RETRY_SECONDS)
        finally:
            try:
                with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                    await self._leave(link)
            finally:  # also where a second cancellation comes meanwhile
                self._forget()

    def _check_free(self) -> None:
        if self._is_running:
            name = type(self).__name__
            raise RuntimeError(f"this {name} belongs to another client: make one for each")

    def _forget(self) -> None:
        """Be as new: another client may use it."""
        if self._schedule is not None:
            self._schedule.on_sample = None
        self._share, self._prospect = 0.0, 1.0
        self._is_running, self._is_away, self._leads = False, None, False
        self._completions = 0
        self._found.forget()

    async def _stay(self, link: Link) -> None:
        """Report again and again, and hear the news, until the link is cut."""
        look, loop = self._look, asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            group.start_soon(link.listen, self._hear)
            while True:
                look.clear()
                began = loop.time()
                report = self._report(began)
                try:
                    reply = await link.send(report)
                except OSError:
                    self._done.restore(report, began)
                    raise
                check_cancelled()  # redis-py has been seen to drop it while it connects
                # It was made somewhere between.
                self._take(reply, (began + loop.time()) / 2)
                until = loop.time() + self._pause(loop.time())
                while not look.is_set() and loop.time() < until and not self._has_changed():
                    longest = math.inf if self._is_idle else LOOK_SECONDS
                    with anyio.move_on_after(min(until - loop.time(), longest)):
                        await look.wait()
                await anyio.sleep(max(began + REPORT_GAP_SECONDS - loop.time(), 0.0))

    async def _leave(self, link: Link) -> None:
        report = self._report(asyncio.get_running_loop().time())
        report.leaves = True
        try:
            await link.leave(report)
        except OSError:
            logger.debug("%s did not hear that this client leaves its budget", self._coordinator)

    def _report(self, now: float) -> Report:
        """Return the report of what was done since the last one."""
        done = self._done
        self._due = self._count_due(now)
        self._is_idle = not (self._waits or done.sent)
        report = Report(
            id=self._id,
            share=self._share,
            pending=self._pending if self._waits else 0.0,
            due=self._due,
            sent=done.sent,
            accepted=done.accepted,
            newest=done.newest_age(now),
            events=done.take_events(now),
            samples=done.take_samples(),
            heard=self._found.heard,
            urgent=self._is_urgent,
            decision=self._found.decision(now) if self._leads else None,
        )
        if self._waits:
            self._sought = self.held_until
        self._waits = self._is_urgent = False
        return report

    def _pause(self, now: float) -> float:
        """Return the seconds until the next report, if nothing happens."""
        seconds = min(REPORT_SECONDS * max(self.fleet_size, 1), LONGEST_REPORT_SECONDS)
        if self._leads and self._found.told == math.inf and not self.is_probing:
            seconds = min(seconds, LEAD_SECONDS)
        if self.is_probing and now < self.held_until:
            seconds = min(seconds, self.held_until - now)
        return seconds

    def _has_changed(self) -> bool:
        """Return whether far more ids are due than were reported, or far fewer."""
        due = self._count_due(asyncio.get_running_loop().time())
        low, high = sorted((due, self._due))
        is_much = high - low > DUE_CHANGE_SECONDS * self._pace.rate
        return is_much and high > DUE_CHANGE * low and not self.is_probing

    def _add_sample(self, sample: CompletionSample) -> None:
        self._done.add_sample(sample)
        self._completions += 1
        if self._completions <= FIRST_SAMPLES:
            self._report_soon(is_urgent=False)

    def _take(self, reply: Reply, now: float) -> None:
        """Use a reply, which was made at `now`."""
        if self._is_away:
            logger.info("%s is back: the rate is shared again", self._coordinator)
        self._is_away, self._alone = False, 1.0
        self.fleet_size = reply.members
        self._behind = now - reply.now
        self._found.feed(reply, now)
        self._leads = reply.leads
        if reply.leads and self._found.decision(now).is_news(reply, reply.now):
            self._report_soon(is_urgent=False)
        if reply.pushed >= self._pushed:  # else a later message came sooner
            self._pushed = reply.pushed
            self._use_share(reply.share, reply.prospect, reply.first, now)
            self._set(reply, now)
        if reply.probe:
            self._may_probe = True
            self._changed()

    def _hear(self, heard: Announcement, now: float) -> None:
        """Use what was published, unless a reply that was made later came sooner."""
        if heard.leader == self._id:
            self._report_soon(is_urgent=False)
        if heard.author != self._id:
            self._learn(heard.samples)
        is_known = heard.pushed <= self._pushed or self._is_away is not False
        if heard.samples or heard.leader is not None or is_known:
            return
        self._pushed = heard.pushed
        if not heard.shares:
            self._set(heard, now)
        elif self._id in heard.shares:
            self.fleet_size = len(heard.shares)
            self._use_share(*heard.shares[self._id], now)
            self._changed()

    def _learn(self, samples: list[str]) -> None:
        """Learn from what others have completed."""
        self._completions += len(samples)
        if self._schedule is not None:
            for sample in samples:
                self._schedule.learn(_read_sample(sample))

    def _set(self, state: State, now: float) -> None:
        """Send as all may from now on."""
        goes_on = self.is_probing and not state.probing
        if state.probing != self.is_probing:
            self._may_probe, self._probe_asked = False, math.inf
        self.is_probing, self._source = state.probing, state.source
        held = state.held + self._behind if state.held else -math.inf
        self.held_until = max(held, self._held_alone)
        if state.rate:  # nobody has decided yet
            self._all = min(state.queries_per_second, self._found.told)
            self._slot = state.slot
        self._keep_share(now)
        if goes_on:  # nobody has saved a slot
            self._pace.skip(now)
        self._changed()

    def _use_share(self, share: float, prospect: float, first: float, now: float) -> None:
        begins = self._share <= NO_SHARE < share
        self._share, self._prospect, self._first = share, prospect, first
        self._keep_share(now)
        if begins:  # as others may, who have sent a query, too: half of them are made up for
            self._pace.begin(now, self.fleet_size / 2)

    def _keep_share(self, now: float) -> None:
        of_all = min(self._all, UNLIMITED_RATE)
        self.rate = max(of_all * self._prospect, LOWEST_RATE)
        share = SlotShare(of_all, self._slot, self._first, self._share * self._alone)
        self._pace.change(share, self._behind, now)

    def _lose(self, error: Exception) -> None:
        """Go on without the coordinator, with the last share."""
        if not self._is_away:
            logger.warning(
                "%s is away (%s): this client goes on with its last share of the rate",
                self._coordinator,
                error,
            )
        if self._is_away is None:
            self._share = self._prospect = FIRST_SHARE
            self._first = random.random()  # noqa: S311 - no secret
        self._is_away, self._leads = True, False
        self.is_probing = False
        self._keep_share(asyncio.get_running_loop().time())
        self._pushed = 0
        self._changed()

    def _report_soon(self, *, is_urgent: bool = True) -> None:
        self._is_urgent = self._is_urgent or is_urgent
        self._look.set()
