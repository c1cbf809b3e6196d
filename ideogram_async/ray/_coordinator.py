"""One rate for the shards that use the same key, kept in the run's own process.

It does what the script does in Redis (`ideogram_async.redis`), where more is to be done: here the
run alone decides about the rate, and no message is lost.
"""

from __future__ import annotations

import math

from msgspec.structs import asdict

from ideogram_async._fleet.fleet_rate import FleetRate
from ideogram_async._fleet.messages import Announcement, Event, Reply, Report, State

DEAD_SECONDS = 5.0
"""Seconds after which a shard that is not heard of is lost, and its share free."""
BINDING_SECONDS = 2.5
"""Seconds after a query that waited for its pace in which a member's share counts as small."""
PROBE_SECONDS = 5.0
"""Seconds after which another member probes: the prober may be lost."""
FIND_SECONDS = 0.5
"""Seconds between two times that the limit is sought, while nothing is urgent."""
IDLE_SHARE = 0.02
"""The part of the rate that is kept, by all together, for what comes at an idle member."""
EVEN_SHARE = 0.1
"""The part that is divided evenly: one id beside ten thousand of another shard is asked."""
DUE_SHARE, DUE_SECONDS = 0.95, 2.0
"""The most of the rest that is divided by the due ids, and not by the pending ones; less where
fewer are due than may be asked within so many seconds."""
OWED_SECONDS, REPAID_SECONDS, FORGOTTEN_SECONDS = 1.7, 5.0, 60.0
"""What a member may have sent too few, or too many, for its part of the pending ids: what it uses
in so many seconds. What is beyond is repaid within some seconds …"""
LEAST_PART = 0.1
"""… but a member keeps so much of its part."""
HEADROOM = 1.2
"""What a member may use more than it did, before its pace binds again."""
SHARE_CHANGE = 0.05
"""By how much of itself a share must differ to be news."""


class _Member:
    """What one shard has reported."""

    def __init__(self, now: float) -> None:
        self.share = self.first = self.used = self.pending = self.due = self.owed = 0.0
        self.binds = False
        self.seen = now
        self._waited = -math.inf

    def record(self, report: Report, now: float) -> None:
        """Record a report: what it needs, and the queries per second that it used lately."""
        seconds = now - self.seen  # 0 for a new one: it counts from its second report on
        kept = math.exp(-seconds)
        self.used = self.used * kept + report.sent * (1 - kept) / max(seconds, 1e-3)
        self.due, self.seen = report.due, now
        if report.pending:
            self.pending, self._waited = report.pending, now
        self.binds = now - self._waited <= BINDING_SECONDS

    def weight(self, of_due: float, of_pending: float, due_share: float, rate: float) -> float:
        """Return its part by its due and its pending ids, and what is to be repaid to it."""
        tolerated = OWED_SECONDS * self.used
        owed = self.owed - min(max(self.owed, -tolerated), tolerated)
        wanted = due_share * of_due + (1 - due_share) * of_pending
        return max(wanted + owed / (rate * REPAID_SECONDS), LEAST_PART * of_pending)


class Coordinator:
    """What the shards of one key may send together, and each of them of that."""

    def __init__(self, max_rate: float | None, now: float) -> None:
        self._found = FleetRate(max_rate)
        self._members: dict[str, _Member] = {}
        self._state = State()
        self._sent = self._accepted = self._pushed = 0
        self._newest = now
        self._events: list[Event] = []
        self._found_at = -math.inf
        self._reported_at = now
        self._prober: str | None = None
        self._probed = -math.inf
        self._found.feed(self._reply(now), now)

    def add_rate(self, max_rate: float) -> None:
        """Allow more: a shard has joined that brings its part of the told rate along."""
        self._found.allow_more(max_rate)

    def report(self, report: Report, now: float) -> tuple[Reply, list[Announcement]]:
        """Record a report; return the reply, and what the others should hear."""
        is_new = report.id not in self._members
        me = self._members.get(report.id) or _Member(now)
        me.record(report, now)
        living = {n: one for n, one in self._members.items() if now - one.seen <= DEAD_SECONDS}
        self._members = living | {report.id: me}
        self._owe(me, 0 if is_new else report.sent, now)
        news = self._decide(report, now)
        shares = self._divide()
        if any(_differs(shares[name][0], one.share) for name, one in self._members.items()):
            first = 0.0
            for name, one in self._members.items():
                one.share, one.first = shares[name][0], first
                first += one.share
            self._pushed += 1
            parts = {name: (*shares[name], one.first) for name, one in self._members.items()}
            news.append(Announcement(pushed=self._pushed, shares=parts))
        reply = self._reply(now)
        reply.share, reply.prospect, reply.first = me.share, shares[report.id][1], me.first
        reply.probe = self._may_probe(report, now)
        return reply, news

    def _decide(self, report: Report, now: float) -> list[Announcement]:
        """Find out what reports show of the limit; return what all should hear of that.

        Queries are taken for evenly spread since the last time, so several reports are awaited.
        """
        self._sent += report.sent
        self._accepted += report.accepted
        if report.accepted:
            self._newest = max(self._newest, now - report.newest)
        self._events += [Event(now - one.at, one.what, one.data) for one in report.events]
        if not report.urgent and now - self._found_at < FIND_SECONDS:
            return []
        done, self._found_at = self._reply(now), now
        done.sent, done.accepted, done.newest = self._sent, self._accepted, self._newest
        done.events, self._events = self._events, []
        self._found.feed(done, now)
        decision, state = self._found.decision(now), self._state
        if not decision.is_news(state, now):
            return []
        held = now + decision.held if decision.held else 0.0
        if decision.probing != state.probing or held > state.held:
            self._prober = None
        number, at = state.slot
        slot = number + (now - at) * state.rate, now
        self._state = State(decision.rate, decision.source, held, decision.probing, slot)
        self._pushed += 1
        return [Announcement(pushed=self._pushed, **asdict(self._state))]

    def _owe(self, me: _Member, sent: int, now: float) -> None:
        """Record what each is owed of queries that one has sent while its pace bound."""
        kept = math.exp((self._reported_at - now) / FORGOTTEN_SECONDS)
        self._reported_at = now
        binding = [one for one in self._members.values() if one.binds]
        pending = sum(one.pending for one in binding)
        for one in self._members.values():
            one.owed *= kept
        for one in binding if me.binds else ():
            one.owed += sent * one.pending / pending - (sent if one is me else 0)

    def _may_probe(self, report: Report, now: float) -> bool:
        """Return whether the shard that reports may send the one query after a hold."""
        is_free = self._prober is None or now - self._probed > PROBE_SECONDS
        is_time = self._state.probing and now >= self._state.held
        if not (is_time and is_free and report.pending):
            return False
        self._prober, self._probed = report.id, now
        return True

    def _divide(self) -> dict[str, tuple[float, float]]:
        """Return the share of each member, and the one that it has on the average.

        1. A member whose pace does not bind keeps what it uses, and a little for what may come;
           where none binds, they divide the rest evenly.
        2. The others divide the rest: a tenth evenly, then by their due and their pending ids. Who
           is owed much, or has had too much, has it repaid.
        """
        members, rate = self._members, self._state.queries_per_second
        idle = {
            name: min(IDLE_SHARE + HEADROOM * one.used * len(members) / rate, 1.0) / len(members)
            for name, one in members.items()
            if not one.binds
        }
        free = 1.0 - sum(idle.values())
        binding = {name: one for name, one in members.items() if one.binds}
        pending = sum(one.pending for one in binding.values())
        due = sum(one.due for one in binding.values())
        due_share = min(DUE_SHARE, due / (rate * DUE_SECONDS))
        weights = {
            name: one.weight(one.due / (due or 1.0), one.pending / pending, due_share, rate)
            for name, one in binding.items()
        }
        spare, more = free / (len(binding) + 1), 0.0 if binding else free / len(idle)
        shares = {name: (share + more, max(share, spare)) for name, share in idle.items()}
        for name, one in binding.items():
            even, rest = free * EVEN_SHARE / len(binding), free * (1 - EVEN_SHARE)
            share = even + rest * weights[name] / sum(weights.values())
            shares[name] = share, even + rest * one.pending / pending
        return shares

    def _reply(self, now: float) -> Reply:
        return Reply(
            **asdict(self._state),
            now=now,
            share=0.0,
            prospect=0.0,
            pending=sum(one.pending for one in self._members.values() if one.binds),
            pushed=self._pushed,
            members=len(self._members),
        )


def _differs(share: float, former: float) -> bool:
    return abs(share - former) > SHARE_CHANGE * former
