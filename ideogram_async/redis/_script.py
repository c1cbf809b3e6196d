"""The script that Redis runs at each report of a member: one step, on the server's own clock."""

SCRIPT = """
-- KEYS[1]: the budget, a JSON text, and the channel of its news.  ARGV[1]: a member's report.
local DEAD, LEASE, BINDING, GRACE, PROBE = 5, 1.5, 1, 5, 5   -- seconds
local FRESH, NUDGE = 10, 0.1
local KEPT, IDLE, EVEN, HEADROOM, REFUSALS = 600, 0.02, 0.1, 1.2, 50
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local report = cjson.decode(ARGV[1])
local text = redis.call('GET', KEYS[1])
local fleet = text and cjson.decode(text) or {
  born = now, joined = 0, members = {}, sent = 0, accepted = 0, newest = 0, refused = 0,
  refusals = {}, rate = 0, source = 'none', held = 0,
  probing = false, prober = '', probed = 0, nudged = 0}

local function save()
  redis.call('SET', KEYS[1], cjson.encode(fleet), 'EX', KEPT)
end
local function publish(what)
  redis.call('PUBLISH', KEYS[1], cjson.encode(what))
end

-- 1. Members: who was not heard of is dead; who leaves is forgotten at once.
for id, one in pairs(fleet.members) do
  if now - one.seen > DEAD then fleet.members[id] = nil end
end
local me = fleet.members[report.id]
if report.leaves then
  fleet.members[report.id] = nil
  save()
  return '{}'
end
if not me then
  fleet.joined = fleet.joined + 1
  me = {number = fleet.joined, began = now, seen = now, share = report.share,
    used = 0, pending = 0, waited = 0}
  -- It had a share: it was cut off, or Redis was restarted, and others may come, too.
  me.returns = report.share > 0
  fleet.members[report.id] = me
end
local since = math.max(now - me.seen, 1e-3)
local decay = math.exp(-since)
me.used = me.used * decay + report.sent * (1 - decay) / since
me.seen = now
if report.pending > 0 then me.pending, me.waited = report.pending, now end

-- 2. Events, for the member that leads: the eldest that was heard of just now.
fleet.sent = fleet.sent + report.sent
fleet.accepted = fleet.accepted + report.accepted
if report.accepted > 0 then fleet.newest = math.max(fleet.newest, now - report.newest) end
for _, one in ipairs(report.refusals) do
  fleet.refused = fleet.refused + 1
  table.insert(fleet.refusals, {fleet.refused, now - one[1], one[2]})
end
while #fleet.refusals > REFUSALS do table.remove(fleet.refusals, 1) end
local leader, lowest, count, pending = report.id, me.number, 0, 0
for id, one in pairs(fleet.members) do
  count = count + 1
  one.binds = one.pending > 0 and now - one.waited <= BINDING
  if one.binds then pending = pending + one.pending end
  if one.number < lowest and now - one.seen <= LEASE then leader, lowest = id, one.number end
end

-- 3. Its decision: the rate, and whether all stop.
local decision = report.decision
if decision and leader == report.id then
  local held = decision.held > 0 and now + decision.held or 0
  local news = decision.probing ~= fleet.probing or held > fleet.held + 0.05
  if news then fleet.prober = '' end
  fleet.rate, fleet.source, fleet.probing = decision.rate, decision.source, decision.probing
  fleet.held = news and held or fleet.held
  if news and count > 1 then
    publish({rate = fleet.rate, source = fleet.source, held = fleet.held, probing = fleet.probing})
  end
end
if report.urgent and leader ~= report.id then publish({leader = leader}) end

-- 4. After a hold one member sends one query.
local probe = false
local is_free = fleet.prober == '' or now - fleet.probed > PROBE
if fleet.probing and now >= fleet.held and report.pending > 0 and is_free then
  fleet.prober, fleet.probed, probe = report.id, now, true
end

-- 5. Shares: whose pace does not bind keeps what it uses; the others divide the rest by their
-- pending ids, a tenth of it evenly. A share grows only by what others have given back.
local free, active, binding, fresh, others = 1, 0, 0, 0, 0
local function claim(one)
  local used = fleet.rate > 0 and HEADROOM * one.used / fleet.rate or 1
  return math.min(1 / count, IDLE / count + used)
end
for id, one in pairs(fleet.members) do
  if one.binds then binding = binding + 1 else free = free - claim(one) end
  if now - one.began < FRESH and not one.binds and one ~= me then fresh = fresh + 1 end
  if one.used > 0.1 then active = active + 1 end
  if one ~= me then others = others + one.share end
end
local share
if me.binds then
  share = free * (EVEN / binding + (1 - EVEN) * me.pending / pending)
else
  share = claim(me)
  if binding == 0 and me.used > 0.1 then share = share + free / active end
end
-- What it will have once others have given back, and once its queries wait, and those of members
-- that have just come.
local prospect = me.binds and share or math.max(share, free / (binding + fresh + 1))
local target = share
share = math.max(math.min(share, 1 - others), 0)
if share < target / 2 and now - fleet.nudged > NUDGE then
  fleet.nudged = now
  publish({leader = '*'})
end
if me.returns and now - fleet.born < GRACE then share = math.min(share, report.share) end
me.share = share

save()
local reply = {
  now = now, share = share, prospect = prospect,
  rate = fleet.rate, source = fleet.source, held = fleet.held,
  probing = fleet.probing, probe = probe, leads = leader == report.id, pending = pending,
  sent = fleet.sent, accepted = fleet.accepted, newest = fleet.newest,
  refused = fleet.refused}
local new = {}
for _, one in ipairs(fleet.refusals) do
  if one[1] > report.refused then table.insert(new, {one[2], one[3]}) end
end
if #new > 0 then reply.refusals = new end
return cjson.encode(reply)
"""
"""Returns the reply as JSON. Constants, as they are named there:

- DEAD: seconds after which a member that is not heard of is dead, and its share free.
- LEASE: seconds that the eldest member may be silent and lead; members report at least every 0.5 s.
- BINDING: seconds after a query that waited for its pace in which a member's share counts as small.
- GRACE: seconds of a new budget in which members of the old one gain nothing.
- PROBE: seconds after which another member probes: the prober may be dead.
- NUDGE: seconds between two requests that all report, since one has far less than its part.
- FRESH: seconds in which a member that has joined is expected to have work soon.
- KEPT: seconds that an unused budget is kept.
- IDLE: the part of the rate that is kept, by all together, for what comes at an idle member.
- EVEN: the part that is divided evenly: one id beside ten thousand of another process is asked.
- HEADROOM: what a member may use more than it did, before its pace binds again.
- REFUSALS: how many are remembered for whoever leads next.
"""
