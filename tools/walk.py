"""`python -m tools.walk [upload|store-image|webhook]`: which files of ours one request enters, in order of the first time.

The stack runs as it does for people, each process under `sys.setprofile`. Shown are gateway and the service that answers, with
the functions that ran in each file; neither other services nor image workers. One request warms the stack up; of the next three
the one that crosses least is shown: in another the gateway may sign its token anew, or a body come in two pieces.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import runpy
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
OURS = tuple(f"{ROOT / folder}/" for folder in ("gateway", "services", "shared"))
SETTLE_S = 0.5
WALKS_EACH = 3
BOUNDARY = "----KeepsakeFormBoundary7MA4YWxkTrZu0gW"
Sent = tuple[str, bytes, Mapping[str, str]]  # path, body, headers
Prepare = Callable[[Any], Sent]


def inside(module: str, target: Path) -> None:
    """Run `module` in this process; record while the file `recording` is beside `target`, and write the walk there."""
    seen: dict[tuple[str, str], None] = {}
    flag = target.with_name("recording")
    recording = False

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if recording and event == "call" and frame.f_code.co_filename.startswith(OURS):
            seen[frame.f_code.co_filename, frame.f_code.co_qualname] = None

    def watch() -> None:
        nonlocal recording
        while True:
            time.sleep(0.05)
            if recording and not flag.exists():
                target.write_text(json.dumps(list(seen)))
                seen.clear()
            recording = flag.exists()

    threading.Thread(target=watch, daemon=True).start()
    threading.setprofile(note)
    sys.setprofile(note)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(url, body, dict(headers)), timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _upload(path: str) -> Prepare:
    def prepare(_stack: Any) -> Sent:
        part = 'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        body = (
            f"--{BOUNDARY}\r\n{part}".encode()
            + (ROOT / "docs" / "photo.jpg").read_bytes()
            + f"\r\n--{BOUNDARY}--\r\n".encode()
        )
        return path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    return prepare


def _webhook(stack: Any) -> Sent:
    """Make a session that is paid in the sandbox's books, and tell checkout so in its place."""
    made = _post(stack.url("gateway") + "/api/checkout/embedded-session", b"{}", {"Content-Type": "application/json"})
    with closing(sqlite3.connect(stack.folder / "var/stripe-sandbox/sandbox.sqlite3", timeout=20)) as books, books:
        paid = "json_set(body, '$.status', 'complete', '$.payment_status', 'paid')"
        query = f"UPDATE objects SET body = {paid} WHERE id = ? RETURNING body"  # noqa: S608 - no text from outside
        ((session,),) = books.execute(query, (made["session_id"],)).fetchall()
    event = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": "checkout.session.completed",
        "created": int(time.time()),
        "data": {"object": json.loads(session)},
    }
    payload, stamp = json.dumps(event).encode(), int(time.time())
    secret = stack.settings["STRIPE_WEBHOOK_SECRET"].encode()
    digest = hmac.new(secret, b"%d.%b" % (stamp, payload), hashlib.sha256).hexdigest()
    return (
        "/api/checkout/webhook",
        payload,
        {"Content-Type": "application/json", "Stripe-Signature": f"t={stamp},v1={digest}"},
    )


WALKS: dict[str, tuple[str, Prepare]] = {
    "upload": ("temp-image", _upload("/api/temp-image-upload")),
    "store-image": ("media-store", _upload("/store-image")),
    "webhook": ("checkout", _webhook),
}


def _walk(name: str) -> list[tuple[str, str, str]]:
    """Return (process, file, function) in the order of their first calls."""
    from tests.support.stack import MODULES, Stack

    class WalkedStack(Stack):
        def command(self, name: str) -> list[str]:
            return [sys.executable, "-m", "tools.walk", "inside", MODULES[name], str(self.folder / f"{name}.json")]

        def begin(self) -> None:
            (self.folder / "recording").touch()
            time.sleep(SETTLE_S)

        def end(self) -> None:
            time.sleep(SETTLE_S)
            (self.folder / "recording").unlink()
            while not all((self.folder / f"{name}.json").exists() for name in MODULES):
                time.sleep(0.1)
            time.sleep(SETTLE_S)

        def take(self, name: str) -> list[tuple[str, str]]:
            file = self.folder / f"{name}.json"
            seen: list[tuple[str, str]] = json.loads(file.read_text())
            file.unlink()
            return seen

    service, prepare = WALKS[name]
    with tempfile.TemporaryDirectory() as folder:
        stack = WalkedStack(Path(folder))
        try:
            stack.start(*MODULES)
            walks = []
            for number in range(1 + WALKS_EACH):
                path, body, headers = prepare(stack)
                if number:
                    time.sleep(SETTLE_S)
                    stack.begin()
                _post(stack.url("gateway") + path, body, headers)
                if number:
                    stack.end()
                    found = {each: stack.take(each) for each in MODULES}
                    walks.append([(each, *crossed) for each in ("gateway", service) for crossed in found[each]])
        finally:
            stack.stop_all()
    return [(each, str(Path(file).relative_to(ROOT)), function) for each, file, function in min(walks, key=len)]


def main() -> None:
    """Print each asked walk: per process its files in order, with the functions called in them, and the counts."""
    if sys.argv[1:2] == ["inside"]:
        inside(sys.argv[2], Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(prog="python -m tools.walk")
    parser.add_argument("walks", nargs="*", metavar="|".join(WALKS))
    for name in parser.parse_args().walks or WALKS:
        steps = _walk(name)
        sys.stdout.write(f"{name}: {len({s[1] for s in steps})} files, {len({s[1:] for s in steps})} functions\n")
        rooms: dict[tuple[str, str], list[str]] = {}
        for process, file, function in steps:
            rooms.setdefault((process, file), []).append(function.replace("<locals>.", ""))
        for (process, file), functions in rooms.items():
            sys.stdout.write(f"  {process:<15} {file:<44} {', '.join(functions)}\n")


if __name__ == "__main__":
    main()
