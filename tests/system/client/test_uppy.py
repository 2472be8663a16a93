"""Uppy's own AwsS3, of both versions that are in use, with the client's signer."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import jwt
import pytest

from tests.support import pictures
from tests.support.node import ensure_installed, node
from tests.support.stack import ROOT, Stack

CLIENT = ROOT / "clients" / "javascript"
UPPY_5 = ROOT / "tests" / "system" / "contract" / "uppy"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("uppy", "option"), [(CLIENT, "signRequest"), (UPPY_5, "getUploadParameters")], ids=["6", "5"])
async def test_uppy_uploads_with_the_clients_signer(stack: Stack, tmp_path: Path, uppy: Path, option: str) -> None:
    for home in (CLIENT, UPPY_5):
        ensure_installed(home)
    claims = {"sub": "uppy", "exp": int(time.time()) + 600}
    token = jwt.encode(claims, stack.settings["JWT_SECRET_KEY"], "HS256")
    photo = tmp_path / "cat.jpg"
    photo.write_bytes(pictures.jpeg())
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        async with http.post(f"{stack.url('gateway')}/api/v1/organizations", json={"name": "Uppy"}) as answer:
            organization = (await answer.json())["id"]
        given = {
            "jsdom": str(UPPY_5),
            "uppy": str(uppy),
            "option": option,
            "sources": str(CLIENT / "src"),
            "gateway": stack.url("gateway"),
            "token": token,
            "organization": organization,
            "file": str(photo),
        }
        process = await asyncio.create_subprocess_exec(
            node(),
            str(Path(__file__).with_name("uppy.mjs")),
            env={"GIVEN": json.dumps(given)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, (output, errors)
        address = json.loads(output)["uploadURL"]
        assert f"/temp/{organization}/" in address
        async with http.get(address) as shown:
            assert await shown.read() == pictures.jpeg()
