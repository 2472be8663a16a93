"""`python -m bench.phones`: what four photos of 50 megapixels at once take of memory, and four of 200, which are refused.

Prints its section of docs/performance.md, which `python -m bench --only phones` writes there.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from PIL import Image

from bench import servers
from bench.bodies import FORM_TYPE, form
from bench.load import ask, require
from bench.machine import BOTH_CORES, DATA, description, forget_peak, memory_kib, session

AT_ONCE = 4
BOUND_BYTES = 2**30
MAX_BYTES = 10 * 2**20
ROOM = (
    "The other services, idle, take some 390 MiB more (above). So a machine of 1 GB has room for the whole stack with four plain",
    "photos, and with four progressive ones, of which the decoder keeps all coefficients, only with swap (sums, not tried).",
)
LARGE, TOO_LARGE = (8192, 6144), (16320, 12240)


def photo(size: tuple[int, int], *, progressive: bool) -> bytes:
    """Make a JPEG with grain, as large as /store-image takes."""
    grain = Image.merge("RGB", [Image.effect_noise((1024, 768), 24) for _ in range(3)])
    picture = Image.new("RGB", size)
    for left in range(0, size[0], grain.width):
        for top in range(0, size[1], grain.height):
            picture.paste(grain, (left, top))
    for quality in (75, 60, 45, 30, 15):
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=quality, progressive=progressive)
        if sink.tell() <= MAX_BYTES:
            return sink.getvalue()
    sink = io.BytesIO()
    Image.new("RGB", size, "tan").save(sink, "JPEG", progressive=progressive)
    return sink.getvalue()


def upload_together(port: int, photo: bytes, expected: int) -> str:
    """Send the photo four times at once; return what a refusal says, or nothing."""
    body = form(photo, {})
    send = partial(ask, port, "POST", "/store-image", body, {"Content-Type": FORM_TYPE})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [each.result() for each in [pool.submit(send) for _ in range(AT_ONCE)]]
    for status, answer in answers:
        require(status == expected, f"expected {expected}, got {status}: {answer[:300]!r}")
    said = json.loads(answers[0][1])
    return str(said.get("detail", ""))


def _peak_mib(pid: int) -> float:
    return memory_kib(pid, "VmHWM") / 1024


def peaks(photo: bytes, expected: int, *, bounded: bool) -> dict[str, Any]:
    """Return the peaks of media-store, of its workers and of the gateway in MiB, and what was said."""
    with servers.keepsake(DATA / uuid.uuid4().hex, "auth-verify", "media-store", "gateway", cores=BOTH_CORES) as ours:
        media, gateway = (ours[name].leaders[0] for name in ("media-store", "gateway"))
        for pid in (*session(media), *session(gateway)):
            if bounded:
                resource.prlimit(pid, resource.RLIMIT_AS, (BOUND_BYTES, BOUND_BYTES))
            forget_peak(pid)
        said = upload_together(ours["gateway"].port, photo, expected)
        return {
            "service": _peak_mib(media),
            "workers": [_peak_mib(pid) for pid in session(media) if pid != media],
            "gateway": _peak_mib(gateway),
            "said": said,
        }


def measure() -> list[dict[str, Any]]:
    """Return, for each kind of photo without and with the bound, the peaks in MiB and what a refusal said."""
    cases = (
        ("50.3 megapixels", photo(LARGE, progressive=False), 200),
        ("50.3 megapixels, progressive", photo(LARGE, progressive=True), 200),
        ("199.8 megapixels, refused", photo(TOO_LARGE, progressive=False), 413),
    )
    return [
        {"what": what, "mib": len(data) / 2**20, "bounded": bounded, **peaks(data, expected, bounded=bounded)}
        for what, data, expected in cases
        for bounded in (False, True)
    ]


def section(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of docs/performance.md that show it."""
    lines = [
        "### Memory for phones' largest photos: four at once into `POST /store-image`, through the gateway",
        "",
        f"`python -m bench.phones`, on {description()}; peaks (`VmHWM`) in MiB. With the bound each process has 1 GiB of",
        "addresses (`RLIMIT_AS`, not a control group for all of them): what the workers have anyway.",
        "",
        "| photos | bound | media-store | its workers | gateway | all |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        workers = " + ".join(f"{peak:.0f}" for peak in row["workers"]) or "none"
        total = row["service"] + sum(row["workers"]) + row["gateway"]
        lines.append(
            f"| {row['what']} ({row['mib']:.1f} MiB) | {'1 GiB' if row['bounded'] else 'none'} | {row['service']:.0f} "
            f"| {workers} | {row['gateway']:.0f} | **{total:.0f}** |"
        )
    said = sorted({f"“{row['said']}”" for row in rows if row["said"]})
    return [*lines, "", f"The refusal is a 413: {' '.join(said)}", "", *ROOM]


def main() -> int:
    """Measure, and print the section."""
    sys.stdout.write("\n".join([*section(measure()), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
