"""The service of source 001 on Redis, in the way its note shows (JSON with the image as base64), or with raw bytes."""

from __future__ import annotations

import base64
import json
import os
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, File, HTTPException, UploadFile
from fastapi.responses import Response
from redis import asyncio as aioredis

RAW = os.environ["REDIS_VALUES"] == "raw"
KEPT_S = 3600

app = FastAPI()
redis = aioredis.Redis.from_url(os.environ["REDIS_URL"])


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/api/temp-image-upload")
async def upload(image: Annotated[UploadFile, File()]) -> dict[str, str]:
    image_id = uuid.uuid4().hex
    data = await image.read()
    mimetype = image.content_type or "image/jpeg"
    if RAW:
        value = mimetype.encode() + b"\n" + data
    else:
        value = json.dumps({"buffer": base64.b64encode(data).decode(), "mimetype": mimetype}).encode()
    await redis.set(f"temp-image:{image_id}", value, ex=KEPT_S)
    return {"imageId": image_id}


@app.get("/api/temp-image-retrieve")
async def retrieve(imageId: str) -> Response:  # noqa: N803 - the contract's name
    key = f"temp-image:{imageId}"
    value: Any = await redis.get(key)
    if value is None:
        raise HTTPException(404, "Image not found or expired")
    await redis.delete(key)
    if RAW:
        mimetype, _, data = value.partition(b"\n")
        return Response(data, media_type=mimetype.decode())
    found = json.loads(value)
    return Response(base64.b64decode(found["buffer"]), media_type=found["mimetype"])
