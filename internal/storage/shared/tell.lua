-- Takes over what an instance has counted of a client token.
-- KEYS: 1 what instances used on the day, 2 what runs on them.
-- ARGV: 1 field, 2 number, 3 requests, 4 tokens, 5 requests and 6 tokens before all
--   counts, 7 running, 8 how long the day is kept in ms, or 0: no limit by the day,
--   9 how long a running request holds in ms, or 0: no limit on those.
-- The fields are those of admit.lua.
local number = tonumber(ARGV[2])
local function newer(key)
  local stored = redis.call('HGET', key, ARGV[1])
  local num = stored and string.match(stored, '^(%d+):')
  return num and tonumber(num) > number
end
if tonumber(ARGV[8]) > 0 then
  redis.call('HSETNX', KEYS[1], 'before', '0:' .. ARGV[5] .. ':' .. ARGV[6])
  if not newer(KEYS[1]) then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3] .. ':' .. ARGV[4])
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
end
if tonumber(ARGV[9]) > 0 and not newer(KEYS[2]) then
  -- A count without anything running stays until it is over, so that an older one
  -- that comes late is known as such.
  local t = redis.call('TIME')
  local til = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[9]
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%s:%s:%.0f', ARGV[2], ARGV[7], til))
  redis.call('PEXPIRE', KEYS[2], ARGV[9] * 2)
end
return 0
