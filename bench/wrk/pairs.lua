-- Uploads, and for each image id that comes back a retrieve, whose bytes must be those in BENCH_IMAGE.
dofile(os.getenv("BENCH_LUA") .. "/counts.lua")

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function init(_)
  good, bad = 0, 0
  image = read(os.getenv("BENCH_IMAGE"))
  headers = { ["Content-Type"] = os.getenv("BENCH_TYPE") }
  upload = wrk.format("POST", "/api/temp-image-upload", headers, read(os.getenv("BENCH_BODY")))
  ids = {}
end

function request()
  local id = table.remove(ids)
  if id then return wrk.format("GET", "/api/temp-image-retrieve?imageId=" .. id) end
  return upload
end

function response(status, _, body)
  if status ~= 200 then
    bad = bad + 1
  elseif #body < 512 then
    local id = body:match('"imageId": ?"([0-9a-f]+)"')
    if id then table.insert(ids, id) else bad = bad + 1 end
  elseif body == image then
    good = good + 1
  else
    bad = bad + 1
  end
end
