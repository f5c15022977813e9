"""Scripts about a queue as a whole: its consumers, its dead letters, its depth. See `scripts`."""

from __future__ import annotations

from bandmaster.contrib.taskiq.streams.message_scripts import Script

FORGET = Script("""
local gone = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', STREAM, GROUP)) do
  local about = {}
  for index = 1, #consumer, 2 do about[consumer[index]] = consumer[index + 1] end
  if about.name ~= ME and about.pending == 0 and about.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, about.name)
    gone = gone + 1
  end
end
return gone
""")
"""Silence. Removes consumers that were silent for longer and hold nothing: what one held would be dropped with it."""

LEAVE = Script("""
if #redis.call('XPENDING', STREAM, GROUP, '-', '+', 1, ME) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, ME)
return 1
""")
"""Removes the consumer itself, unless it holds something, which would be dropped with it."""

REPLAY = Script("""
local sent = {}
for index = 3, #ARGV, 2 do
  local found, about = redis.call('XRANGE', DEAD, ARGV[index], ARGV[index])[1], {}
  if found then
    for field = 1, #found[2], 2 do about[found[2][field]] = found[2][field + 1] end
    redis.call('XADD', STREAM, '*', 'data', ARGV[index + 1], 'task', about.task or '', 'task_id', about.task_id or '')
    redis.call('XDEL', DEAD, ARGV[index])
    sent[#sent + 1] = ARGV[index]
  end
end
return sent
""")
"""Ids of letters, each with the data that is sent. Answers those that were there."""

PURGE = Script("""
local count = redis.call('XLEN', DEAD)
redis.call('DEL', DEAD)
return count
""")
"""Forgets all dead letters; how many there were."""

DEPTH = Script("""
local held, returned, nudges = 0, 0, 0
local pending = redis.pcall('XPENDING', STREAM, GROUP)
if not pending.err then
  for _, consumer in ipairs(pending[4] or {}) do
    if consumer[1] ~= NOBODY then held = held + tonumber(consumer[2]) end
  end
  local id = redis.call('HGET', HISTORY, 'nudge')
  local heard = id and redis.call('XPENDING', STREAM, GROUP, id, id, 1)[1]
  if heard and heard[2] ~= NOBODY then held = held - 1 end
end
local id = redis.call('HGET', HISTORY, 'nudge')
if id and #redis.call('XRANGE', STREAM, id, id) > 0 then nudges = 1 end
local waiting = redis.call('XLEN', STREAM) - held - nudges
return {waiting, held, redis.call('ZCARD', DELAYED), redis.call('XLEN', DEAD)}
""")
"""Answers how many messages wait, are held, are delayed and are dead."""
