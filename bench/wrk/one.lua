-- One request again and again: BENCH_METHOD with the body in BENCH_BODY and the headers in BENCH_HEADERS (name: value lines).
-- Each answer must be 200 and hold BENCH_EXPECT, unless that is empty: then wrk itself counts the statuses, at no cost.
dofile(os.getenv("BENCH_LUA") .. "/counts.lua")
local expected = os.getenv("BENCH_EXPECT") or ""

function init(_)
  good, bad = 0, 0
  wrk.method = os.getenv("BENCH_METHOD") or "GET"
  local path = os.getenv("BENCH_BODY")
  if path then
    local file = assert(io.open(path, "rb"))
    wrk.body = file:read("*a")
    file:close()
  end
  for name, value in (os.getenv("BENCH_HEADERS") or ""):gmatch("([^:\n]+): ([^\n]*)") do wrk.headers[name] = value end
end

if expected ~= "" then
  function response(status, _, body)
    if status == 200 and body:find(expected, 1, true) then good = good + 1 else bad = bad + 1 end
  end
end
