-- GET with one of several bearer tokens in turn: the lines of the file BENCH_TOKENS. Each answer must be 200 with BENCH_EXPECT.
dofile(os.getenv("BENCH_LUA") .. "/counts.lua")
local expected = os.getenv("BENCH_EXPECT")

function init(_)
  good, bad, turn = 0, 0, 0
  requests = {}
  for token in io.lines(os.getenv("BENCH_TOKENS")) do
    table.insert(requests, wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token }))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function response(status, _, body)
  if status == 200 and body:find(expected, 1, true) then good = good + 1 else bad = bad + 1 end
end
