-- Makes undone that a request was counted in a sliding window.
-- KEYS: 1 the marks. ARGV: 1 when it was counted.
local at = tonumber(ARGV[1])
for i, m in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local a, n = string.match(m, '^(%d+):(%d+)$')
  if a and tonumber(a) >= at then
    if tonumber(n) > 1 then
      redis.call('LSET', KEYS[1], i - 1, string.format('%s:%d', a, n - 1))
    else
      redis.call('LSET', KEYS[1], i - 1, '')
      redis.call('LREM', KEYS[1], 1, '')
    end
    return 1
  end
end
return 0
