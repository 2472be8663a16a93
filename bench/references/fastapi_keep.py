"""The local option of source 000 in FastAPI, with what `keep` promises; it works in FastAPI's threads."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, File, Form, HTTPException, UploadFile

from bench.references.keep import keep, prepare

app = FastAPI()
prepare()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/store-image")
def store_image(image: Annotated[UploadFile, File()], session_id: Annotated[str, Form()] = "") -> dict[str, object]:
    try:
        return keep(image.file.read(), session_id)
    except OSError as error:
        raise HTTPException(400, str(error)) from error
