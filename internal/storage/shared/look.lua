-- Finds out whether something can be written. KEYS: 1 any. ARGV: for how long in ms.
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 0
