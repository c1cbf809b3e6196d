"""The script that Redis runs at each report of a member: one step, on the server's own clock."""

SCRIPT = """
-- KEYS[1]: the budget, a JSON text, and the channel of its news.  ARGV[1]: a member's report.
local DEAD, LEASE, ANSWER, BINDING, GRACE, PROBE = 5, 3, 0.5, 2.5, 5, 5   -- seconds
local FRESH, HEARD, KEPT = 10, 10, 600
local IDLE, EVEN, DUE, HEADROOM, CHANGE, SPARE = 0.02, 0.1, 0.95, 1.2, 0.05, 0.05
local CHANGED, WITHIN, EVENTS, OWED, REPAID, FORGOTTEN, LEAST = 0.01, 2, 100, 1.7, 5, 60, 0.1
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local report = cjson.decode(ARGV[1])
local text = redis.call('GET', KEYS[1])
local fleet = text and cjson.decode(text) or {
  born = now, joined = 0, lost = 0, back = 0, members = {},
  sent = 0, accepted = 0, newest = 0, heard = 0, events = {}, rate = 0, source = 'none', held = 0,
  slot = {0, now}, probing = false, prober = '', probed = 0, called = 0, reported = now,
  pushed = math.floor(100 * now)}  -- later than all of a budget that was lost

local function save()
  redis.call('SET', KEYS[1], cjson.encode(fleet), 'EX', KEPT)
end
local function publish(what)
  fleet.pushed = fleet.pushed + 1
  what.pushed = fleet.pushed
  redis.call('PUBLISH', KEYS[1], cjson.encode(what))
end

-- 1. Members: who was not heard of is dead; who leaves is forgotten at once.
for id, one in pairs(fleet.members) do
  if now - one.seen > DEAD then
    fleet.members[id], fleet.lost = nil, fleet.lost + 1
  end
end
local me = fleet.members[report.id]
local is_new = not me
if report.leaves then
  fleet.members[report.id] = nil
  save()
  return '{}'
end
if not me then
  fleet.joined = fleet.joined + 1
  me = {number = fleet.joined, began = now, seen = now, share = report.share,
    used = 0, pending = 0, due = 0, waited = 0, owed = 0}
  -- It had a share: it was cut off, or Redis was restarted, and others may come, too.
  if report.share > 0 then
    me.most, fleet.back = report.share, fleet.back + 1
  end
  fleet.members[report.id] = me
end
local since = now - me.seen  -- 0 for a new one: what it sent while it was cut off does not count
local decay = math.exp(-since)
me.used = me.used * decay + report.sent * (1 - decay) / math.max(since, 1e-3)
me.seen = now
me.due = report.due
if report.pending > 0 then me.pending, me.waited = report.pending, now end

-- 2. Events, for the member that leads: the eldest that was heard of just now.
fleet.sent = fleet.sent + report.sent
fleet.accepted = fleet.accepted + report.accepted
if report.accepted > 0 then fleet.newest = math.max(fleet.newest, now - report.newest) end
for _, one in ipairs(report.events) do
  fleet.heard = fleet.heard + 1
  table.insert(fleet.events, {fleet.heard, now, now - one[1], one[2], one[3]})
end
while #fleet.events > EVENTS or (#fleet.events > 0 and now - fleet.events[1][2] > HEARD) do
  table.remove(fleet.events, 1)
end
local function answers(one)
  if fleet.called > one.seen then return now - fleet.called <= ANSWER end
  return now - one.seen <= LEASE
end
local leader, lowest, count, pending, due = report.id, me.number, 0, 0, 0
for id, one in pairs(fleet.members) do
  count = count + 1
  one.binds = one.pending > 0 and one.seen - one.waited <= BINDING
  if one.binds then pending, due = pending + one.pending, due + one.due end
  if one.number < lowest and answers(one) then leader, lowest = id, one.number end
end

-- What each is owed of the queries that were sent while the pace bound: its part, less its own.
local kept = math.exp((fleet.reported - now) / FORGOTTEN)
fleet.reported = now
local counts = me.binds and not is_new
for id, one in pairs(fleet.members) do
  one.owed = one.owed * kept
  if counts and one.binds then one.owed = one.owed + report.sent * one.pending / pending end
end
if counts then me.owed = me.owed - report.sent end

if report.samples and count > 1 then
  publish({samples = report.samples, author = report.id})
end

-- 3. Its decision: the rate, and whether all stop.
local decision = report.decision
if decision and leader == report.id then
  local held = decision.held > 0 and now + decision.held or 0
  local news = decision.probing ~= fleet.probing or held > fleet.held + 0.05
  if news then fleet.prober = '' end
  local differs = math.abs(decision.rate - fleet.rate) > CHANGED * math.abs(fleet.rate)
  if news or differs then
    fleet.slot = {fleet.slot[1] + (now - fleet.slot[2]) * fleet.rate, now}
    fleet.rate = decision.rate
  end
  fleet.source, fleet.probing = decision.source, decision.probing
  fleet.held = news and held or fleet.held
  if (news or differs) and count > 1 then
    publish({rate = fleet.rate, source = fleet.source, held = fleet.held, probing = fleet.probing,
      slot = fleet.slot})
  end
end
if report.urgent and leader ~= report.id then
  publish({leader = leader})
  if fleet.called <= fleet.members[leader].seen then fleet.called = now end
end

-- 4. After a hold one member sends one query.
local probe = false
local is_free = fleet.prober == '' or now - fleet.probed > PROBE
if fleet.probing and now >= fleet.held and report.pending > 0 and is_free then
  fleet.prober, fleet.probed, probe = report.id, now, true
end

-- 5. Shares: whose pace does not bind keeps what it uses; the others divide the rest by their due
-- and their pending ids, a tenth of it evenly. Who had too little, or too much, has it repaid.
local free, active, binding, fresh = 1, 0, 0, 0
local function claim(one)
  local used = fleet.rate > 0 and HEADROOM * one.used / fleet.rate or 1
  return math.min(1 / count, IDLE / count + used)
end
for id, one in pairs(fleet.members) do
  if one.binds then binding = binding + 1 else free = free - claim(one) end
  if now - one.began < FRESH and not one.binds then fresh = fresh + 1 end
  if one.used > 0.1 then active = active + 1 end
end
local weight = fleet.rate > 0 and math.min(DUE, due / (fleet.rate * WITHIN)) or DUE
local weights, total = {}, 0
for id, one in pairs(fleet.members) do
  if one.binds then
    local of_pending = one.pending / pending
    local of_due = due > 0 and one.due / due or of_pending
    local tolerated = OWED * one.used
    local owed = one.owed - math.max(-tolerated, math.min(one.owed, tolerated))
    local repaid = fleet.rate > 0 and owed / (fleet.rate * REPAID) or 0
    local wanted = weight * of_due + (1 - weight) * of_pending
    weights[one] = math.max(wanted + repaid, LEAST * of_pending)
    total = total + weights[one]
  end
end
local function part(one)
  local share = claim(one)
  if one.binds then
    share = free * (EVEN / binding + (1 - EVEN) * weights[one] / total)
  elseif binding == 0 and one.used > 0.1 then
    share = share + free / active
  end
  return now - fleet.born < GRACE and one.most and math.min(share, one.most) or share
end
-- What it has on the average, whatever is due now, or will have once its queries wait, and those of
-- members that have just come.
local function prospect(one, share)
  if one.binds then
    local part = EVEN / binding + (1 - EVEN) * one.pending / pending
    return free * part * binding / (binding + fresh)
  end
  return math.max(share, free / (binding + math.max(fresh, 1)))
end
-- All learn at once of shares that differ from what they have: else each keeps its own.
local others, differs, shares = 0, is_new, {}
for id, one in pairs(fleet.members) do
  local share = part(one)
  shares[id] = {share, prospect(one, share)}
  if one ~= me then others = others + one.share end
  differs = differs or math.abs(share - one.share) > CHANGE * one.share
end
if differs or 1 - others - me.share > SPARE then
  local ids, first = {}, 0
  for id in pairs(fleet.members) do table.insert(ids, id) end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local one = fleet.members[id]
    one.share, one.first = shares[id][1], first
    shares[id][3], first = first, first + one.share
  end
  if count > 1 then publish({shares = shares}) end
end

save()
local reply = {
  now = now, share = me.share, first = me.first, prospect = prospect(me, me.share),
  members = count, joined = is_new, lost = fleet.lost, back = fleet.back,
  rate = fleet.rate, source = fleet.source, held = fleet.held,
  slot = fleet.slot, probing = fleet.probing, probe = probe, pushed = fleet.pushed,
  leads = leader == report.id, pending = pending,
  sent = fleet.sent, accepted = fleet.accepted, newest = fleet.newest, heard = fleet.heard}
local new, heard = {}, report.heard <= fleet.heard and report.heard or 0
for _, one in ipairs(fleet.events) do
  if one[1] > heard then table.insert(new, {one[3], one[4], one[5]}) end
end
if #new > 0 then reply.events = new end
return cjson.encode(reply)
"""
"""Returns the reply as JSON. Constants, as they are named there:

- DEAD: seconds after which a member that is not heard of is dead, and its share free.
- LEASE: seconds that the eldest member may be silent and lead; members report at least every 2 s.
- ANSWER: the same, once it was asked to report: somebody was refused.
- BINDING: seconds after a query that waited for its pace in which a member's share counts as small;
  one that is silent keeps its share until it is dead.
- GRACE: seconds of a new budget in which members of the old one gain nothing.
- PROBE: seconds after which another member probes: the prober may be dead.
- FRESH: seconds in which a member that has joined is expected to have work soon.
- HEARD: seconds after which an event has been heard by all that live.
- KEPT: seconds that an unused budget is kept.
- IDLE: the part of the rate that is kept, by all together, for what comes at an idle member.
- EVEN: the part that is divided evenly: one id beside ten thousand of another process is asked.
- DUE: the most of the rest that is divided by the due ids, and not by the pending ones; less where
  fewer are due than may be asked within the seconds WITHIN.
- OWED: what a member may have sent too few, or too many, for its part of the pending ids: so many
  seconds of what it uses now. What is beyond is repaid within about REPAID seconds, but a member
  keeps LEAST of its part; it is forgotten in FORGOTTEN seconds.
- HEADROOM: what a member may use more than it did, before its pace binds again.
- CHANGE, CHANGED: by how much of itself a share, and the rate, must differ for a message: from the
  rate that the last one told, for it grows by small steps.
- SPARE: the part of the rate that nobody has, for a message.
- EVENTS: how many are kept for who has not heard of them.
"""
