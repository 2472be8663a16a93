"""The README's own lines, word for word but for the ports."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.stack import ROOT, Stack

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text())


def run_block(stack: Stack, script: str, folder: Path) -> str:
    """Paste `script` into a shell that stands in a copy of what the README's reader has before them."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    script = script.replace("localhost:8080", stack.url("gateway").removeprefix("http://"))
    script = script.replace("localhost:8009", stack.url("stripe-sandbox").removeprefix("http://"))
    script = script.replace("/tmp/", f"{folder}/")
    done = subprocess.run(  # the lines are our own README
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def buy_a_picture(stack: Stack, folder: Path) -> None:
    """Do the first purchase, as written."""
    said = run_block(stack, BLOCKS[0], folder)
    image_id = re.search(r"imageId: ([0-9a-f]{32})", said)
    assert image_id
    assert re.search(r"the browser goes to: http://localhost:3000/hero-me\?session_id=cs_test_", said)
    assert re.search(r'"status": ?"complete"', said)
    assert re.search(r'"payment_status": ?"paid"', said)
    assert re.search(rf'"imageId": ?"{image_id[1]}"', said)
    assert "the very bytes" in said
    assert "Image not found or expired" in said


def test_the_first_purchase_works_as_written(stack: Stack, tmp_path: Path) -> None:
    buy_a_picture(stack, tmp_path)


def test_a_token_is_had_as_written(stack: Stack, tmp_path: Path) -> None:
    assert re.search(r'"username": ?"sam"', run_block(stack, BLOCKS[1], tmp_path))
