"""The JavaScript client in Node: a test gives the body of an async function, and gets what it returns."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support import pictures
from tests.support.node import node
from tests.support.stack import ROOT, Stack

SOURCES = ROOT / "clients" / "javascript" / "src"
PROGRAM = Path(__file__).with_name("program.mjs").read_text()

Script = Callable[..., Awaitable[Any]]


def admin_token(stack: Stack) -> str:
    """Sign a token of somebody with the role `admin`."""
    claims = {"sub": "boss", "iss": "keepsake", "aud": "keepsake", "roles": ["admin"], "exp": int(time.time()) + 600}
    return jwt.encode(claims, stack.settings["JWT_SECRET_KEY"], "HS256")


@pytest.fixture
def script(stack: Stack, tmp_path: Path) -> Script:
    """Runs JavaScript against `url` (the gateway where none is given); `values` are in `given`."""

    async def run(body: str, url: str | None = None, image: bytes | None = None, **values: Any) -> Any:
        photo, program = tmp_path / "cat.jpg", tmp_path / "program.mjs"
        photo.write_bytes(image or pictures.jpeg())
        program.write_text(PROGRAM.replace("SOURCES", SOURCES.as_uri()).replace("/* BODY */", body))
        given = {"url": url or stack.url("gateway"), "photo": str(photo), **values}
        process = await asyncio.create_subprocess_exec(
            node(),
            "--unhandled-rejections=strict",
            str(program),
            env={"GIVEN": json.dumps(given)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return json.loads(output)

    return run
