"""The script: what Redis makes of the reports of several members."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

pytest.importorskip("redis", reason="the extra is not installed")

from redis.asyncio import Redis

from ideogram_async._fleet.messages import Announcement, Decision, Event, Reply, Report
from ideogram_async.redis._script import SCRIPT
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio


class Budget:
    """One budget in Redis, and the members' last replies."""

    def __init__(self, redis: Redis, key: str) -> None:
        self.redis = redis
        self.key = key
        self.replies: dict[str, Reply] = {}
        self._script = redis.register_script(SCRIPT)

    async def report(self, member: str, **what: Any) -> Reply:
        """Send a report with these values; the others are those of an idle member."""
        last = self.replies.get(member)
        before = {"share": last.share, "heard": last.heard} if last else {}
        report = {"id": member, "share": 0.0, "pending": 0.0, "due": 0, "sent": 0, "accepted": 0}
        report |= {"newest": 0.0, "events": [], "heard": 0, "urgent": False, **before, **what}
        self.last = msgspec.convert(report, Report)
        text = await self._script(keys=[self.key], args=[msgspec.json.encode(self.last)])
        reply = msgspec.json.decode(text, type=Reply)
        self.replies[member] = reply
        return reply

    async def leave(self, member: str) -> None:
        """Let a member leave."""
        report = Report(member, 1.0, 0.0, 0, 0, 0, 0.0, [], 0, urgent=False, leaves=True)
        await self._script(keys=[self.key], args=[msgspec.json.encode(report)])

    async def fleet(self) -> Any:
        """Return what Redis holds."""
        return msgspec.json.decode(await self.redis.get(self.key) or b"")

    async def decide(self, member: str, rate: float = 20.0, **what: Any) -> Reply:
        """Send a report with a decision."""
        decision = {"rate": rate, "source": "found", "held": 0.0, "probing": False, **what}
        return await self.report(member, decision=msgspec.convert(decision, Decision))

    async def age(self, seconds: float, *members: str) -> None:
        """Move all that was heard of these members, or all, so far into the past."""
        fleet = await self.fleet()
        for member in members or fleet["members"]:
            for moment in ("seen", "waited", "began"):
                fleet["members"][member][moment] -= seconds
        if not members:
            fleet["born"] -= seconds
            fleet["reported"] -= seconds
        await self.redis.set(self.key, msgspec.json.encode(fleet))


@pytest.fixture
async def budget(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Budget]:
    """Open a connection, and begin a budget of the test's own."""
    async with Redis.from_url(server.url) as redis:
        yield Budget(redis, request.node.name)


async def test_shares_follow_pending_ids(budget: Budget) -> None:
    """Of members that wait each gets its part of the pending ids, for a tenth an equal one."""
    await budget.decide("a")
    for _ in range(3):
        await budget.report("a", pending=90.0)
        await budget.report("b", pending=30.0)
    shares = {name: reply.share for name, reply in budget.replies.items()}
    assert shares == pytest.approx({"a": 0.05 + 0.9 * 0.75, "b": 0.05 + 0.9 * 0.25})


async def test_slots_are_counted_on_when_the_rate_changes(budget: Budget) -> None:
    """The slot's number at a change is what the rate before it has counted in 100 s."""
    await budget.decide("a", rate=20.0)
    for rate, counted in ((30.0, 2000), (10.0, 3000)):
        fleet = await budget.fleet()
        number, at = fleet["slot"]
        fleet["slot"] = number, at - 100
        await budget.redis.set(budget.key, msgspec.json.encode(fleet))
        slot = (await budget.decide("a", rate=rate)).slot
        assert slot[0] - number == pytest.approx(counted, rel=0.01)
        assert slot[1] >= at


async def test_shares_are_never_more_than_the_whole(budget: Budget) -> None:
    """Whatever members report, in any order, the shares that they hold never exceed the whole."""
    draws = random.Random(1)
    await budget.decide("0")
    for _ in range(150):
        pending = draws.choice([0.0, 0.0, 1.0, 10.0, 1000.0])
        due = draws.choice([0.0, pending / 2, pending])
        member = str(draws.randrange(5))
        reply = await budget.report(member, pending=pending, due=due, sent=draws.randrange(9))
        shares = {name: one["share"] for name, one in (await budget.fleet())["members"].items()}
        assert sum(shares.values()) <= 1 + 1e-9
        assert reply.share == shares[member]


async def test_shares_follow_what_is_due(budget: Budget) -> None:
    """Of two members with as many pending ids the one gets more that has more due, and at once."""
    await budget.decide("a")
    for due in (50, 0):
        async with budget.redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(budget.key)
            await channel.get_message(timeout=1)  # that it listens
            await budget.report("a", pending=50.0, due=due)
            last = await budget.report("b", pending=50.0, due=50 - due)
            news: list[Any] = []
            while (message := await channel.get_message(timeout=0.1)) is not None:
                news.append(message)
        pushed = msgspec.json.decode(news[-1]["data"], type=Announcement)
        assert pushed.shares["b"][0] == last.share
        assert (pushed.shares["a"][0] > 0.8) == (due > 0)
        assert sum(share for share, *_ in pushed.shares.values()) == pytest.approx(1)
        assert pushed.shares["a"][1] == pytest.approx(0.5)  # by the pending ids


async def test_an_idle_members_share_flows_back(budget: Budget) -> None:
    """Who waits no more keeps what it uses; its next report frees the rest for the others."""
    await budget.decide("a")
    for _ in range(2):
        await budget.report("a", pending=50.0)
        await budget.report("b", pending=50.0)
    await budget.age(3, "a")
    await budget.report("a")
    assert (await budget.report("b", pending=50.0)).share > 0.98


@pytest.mark.parametrize("is_dead", [False, True])
async def test_a_lost_members_share_flows_back(budget: Budget, is_dead: bool) -> None:
    """The share of a member that left is free at once; of one that is silent, after 5 s."""
    await budget.decide("a")
    for _ in range(2):
        await budget.report("a", pending=50.0)
        await budget.report("b", pending=50.0)
    if is_dead:
        await budget.age(4, "a")
        assert (await budget.report("b", pending=50.0)).share == pytest.approx(0.5)
        await budget.age(2, "a")
    else:
        await budget.leave("a")
    reply = await budget.report("b", pending=50.0)
    assert (reply.share, reply.lost, reply.back) == (1, is_dead, 0)
    await budget.report("a", share=0.5 * is_dead)
    reply = await budget.report("b", pending=50.0)
    assert (reply.lost, reply.back) == (is_dead, is_dead)


async def test_what_was_sent_while_cut_off_is_not_used_now(budget: Budget) -> None:
    """A member that comes back tells what it sent; all count it, but its share does not grow."""
    await budget.decide("a")
    assert (await budget.report("b", share=0.5, sent=500, accepted=400)).joined
    reply = await budget.report("a")
    assert (reply.sent, reply.accepted, reply.joined) == (500, 400, False)
    assert (await budget.fleet())["members"]["b"]["used"] == 0


async def test_the_eldest_that_is_heard_of_leads(budget: Budget) -> None:
    """Only the leader's decision counts; where it is silent for 3 s, the next one leads."""
    assert (await budget.decide("a", rate=10.0)).leads
    assert not (await budget.report("b")).leads
    assert (await budget.decide("b", rate=99.0)).rate == 10
    await budget.age(2, "a")
    assert not (await budget.report("b")).leads
    await budget.age(2, "a")
    assert (await budget.report("b")).leads
    assert (await budget.decide("b", rate=5.0)).rate == 5
    assert (await budget.report("a")).leads


async def test_who_leads_is_replaced_if_it_does_not_answer(budget: Budget) -> None:
    """After a refusal the leader is asked to report; half a second later another one leads."""
    await budget.decide("a")
    assert not (await budget.report("b", urgent=True)).leads
    await budget.report("a")
    assert not (await budget.report("b", urgent=True)).leads
    fleet = await budget.fleet()
    fleet["called"] -= 0.6
    fleet["members"]["a"]["seen"] -= 0.7
    await budget.redis.set(budget.key, msgspec.json.encode(fleet))
    assert (await budget.report("b", urgent=True)).leads
    await budget.report("a")
    assert not (await budget.report("b")).leads


async def test_one_member_probes_after_a_hold(budget: Budget) -> None:
    """While all are held nobody probes; then one that waits does, and 5 s later another one."""
    await budget.decide("a")
    reply = await budget.decide("a", held=60.0, probing=True)
    assert reply.held - reply.now == pytest.approx(60, abs=0.1)
    assert not (await budget.report("b", pending=1.0)).probe
    await budget.decide("a", held=0.0, probing=False)
    await budget.decide("a", held=0.0, probing=True)
    assert not (await budget.report("b")).probe
    assert (await budget.report("c", pending=1.0)).probe
    assert not (await budget.report("b", pending=1.0)).probe
    fleet = await budget.fleet()
    fleet["probed"] -= 6
    await budget.redis.set(budget.key, msgspec.json.encode(fleet))
    assert (await budget.report("b", pending=1.0)).probe


async def test_each_member_hears_of_each_event_once(budget: Budget) -> None:
    """A refusal is passed on with its time."""
    await budget.report("a")
    await budget.report("b", events=[Event(2.0, "refused", "null"), Event(1.0, "refused", "3.0")])
    reply = await budget.report("a")
    assert [event.data for event in reply.events] == ["null", "3.0"]
    assert [reply.now - event.at for event in reply.events] == pytest.approx([2, 1], abs=0.2)
    assert (await budget.report("a")).events == []


async def test_what_a_completion_teaches_is_published(budget: Budget) -> None:
    """All hear at once what a member has learned, with its name; a member alone tells nobody."""
    async with budget.redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(budget.key)
        await channel.get_message(timeout=1)  # that it listens
        await budget.report("a", samples=["[1]"])
        await budget.report("b")
        await budget.report("a", samples=["[2]", "[3]"])
        news: list[Announcement] = []
        while (message := await channel.get_message(timeout=0.1)) is not None:
            news.append(msgspec.json.decode(message["data"], type=Announcement))
    assert [(one.author, one.samples) for one in news if one.samples] == [("a", ["[2]", "[3]"])]


async def test_a_rate_that_grows_by_small_steps_is_published(budget: Budget) -> None:
    """All hear of each per cent that the leader finds, however many steps that takes."""
    await budget.decide("a")
    await budget.report("b")
    async with budget.redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(budget.key)
        await channel.get_message(timeout=1)  # that it listens
        for step in range(1, 13):
            await budget.decide("a", rate=20 * 1.004**step)
        rates = []
        while (message := await channel.get_message(timeout=0.1)) is not None:
            rates.append(msgspec.json.decode(message["data"], type=Announcement).rate)
    rates = [rate for rate in rates if rate]  # the other messages tell of shares
    assert rates == pytest.approx([20 * 1.004**step for step in (3, 6, 9, 12)])


async def test_a_budget_that_begins_anew_hands_out_nothing_twice(budget: Budget) -> None:
    """After a restart of Redis, who comes back first does not get the shares of the others."""
    for member in "ab":
        await budget.report(member, share=0.5, pending=50.0)
    first, second = budget.replies["a"], budget.replies["b"]
    assert (first.share, second.share) == (0.5, 0.5)
    await budget.redis.delete(budget.key)
    assert (await budget.report("a", pending=50.0)).share == 0.5
    await budget.age(6)
    assert (await budget.report("a", pending=50.0)).share == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_run_on_ray_shares_as_redis_does(budget: Budget, seed: int) -> None:
    """The script and the coordinator of Ray's shards divide alike: the rule is written twice."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ideogram_async.ray._coordinator import Coordinator  # noqa: PLC0415 - an extra

    draws, coordinator = random.Random(seed), Coordinator(20.0, 0.0)
    needs = {
        member: {"pending": draws.choice([0.0, 5.0, 50.0]), "sent": draws.randrange(1, 9)}
        for member in "abcd"
    }
    for what in needs.values():
        what["due"] = draws.random() * what["pending"]
    await budget.decide("a", rate=19.6)
    for step in range(3):
        for member, what in needs.items():
            await budget.age(0.5)
            await budget.report(member, **what)
            coordinator.report(budget.last, 0.5 * (4 * step + "abcd".index(member) + 1))
    there = {name: one["share"] for name, one in (await budget.fleet())["members"].items()}
    here = {name: one.share for name, one in coordinator._members.items()}
    assert here == pytest.approx(there, rel=0.1)
