"""`python -m bench.phones`: what four photos of 50 megapixels at once take of memory, and four of 200 that are refused.

Prints a Markdown table for docs/performance.md: the peak (`VmHWM`) of media-store, of each worker and of the gateway, and
their sum. The second half bounds each process to 1 GiB of addresses, as its workers are anyway.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from PIL import Image

from bench import servers
from bench.bodies import FORM_TYPE, form
from bench.load import ask, require
from bench.machine import BOTH_CORES, DATA, description, forget_peak, memory_kib, session
from bench.servers import Server

AT_ONCE = 4
BOUND_BYTES = 2**30
MAX_BYTES = 10 * 2**20
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


def peaks_mib(server: Server) -> list[float]:
    """Return the peak of a server and of each of its children, the server first."""
    leader = server.leaders[0]
    pids = [leader, *(pid for pid in session(leader) if pid != leader)]
    return [memory_kib(pid, "VmHWM") / 1024 for pid in pids]


def measure(photo: bytes, expected: int, *, bounded: bool) -> tuple[list[float], float, str]:
    """Return the peaks of media-store with its workers and of the gateway in MiB, and what was said."""
    with servers.keepsake(DATA / uuid.uuid4().hex, "auth-verify", "media-store", "gateway", cores=BOTH_CORES) as ours:
        media, gateway = ours["media-store"], ours["gateway"]
        for server in (media, gateway):
            for pid in session(server.leaders[0]):
                if bounded:
                    resource.prlimit(pid, resource.RLIMIT_AS, (BOUND_BYTES, BOUND_BYTES))
                forget_peak(pid)
        said = upload_together(gateway.port, photo, expected)
        return peaks_mib(media), peaks_mib(gateway)[0], said


def _row(name: str, bound: str, peaks: Sequence[float], gateway: float) -> str:
    workers = " + ".join(f"{peak:.0f}" for peak in peaks[1:]) or "none"
    return f"| {name} | {bound} | {peaks[0]:.0f} | {workers} | {gateway:.0f} | **{sum(peaks) + gateway:.0f}** |"


def main() -> int:
    """Measure, and print the table."""
    cases = (
        ("50.3 megapixels", photo(LARGE, progressive=False), 200),
        ("50.3 megapixels, progressive", photo(LARGE, progressive=True), 200),
        ("199.8 megapixels, refused", photo(TOO_LARGE, progressive=False), 413),
    )
    lines = [
        description(),
        "",
        f"| {AT_ONCE} at once of | bound | media-store, MiB | its workers | gateway | all |",
        "|---|---|---|---|---|---|",
    ]
    sentences = set()
    for name, data, expected in cases:
        for bounded in (False, True):
            peaks, gateway, said = measure(data, expected, bounded=bounded)
            lines.append(_row(f"{name} ({len(data) / 2**20:.1f} MiB)", "1 GiB" if bounded else "none", peaks, gateway))
            sentences.add(said)
    sys.stdout.write("\n".join([*lines, "", *sorted(sentences - {""})]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
