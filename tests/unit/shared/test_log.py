from __future__ import annotations

import subprocess
import sys

WORK = """
import sys
from shared.log import configure_logging, get_logger
configure_logging("any")
sys.stdin.read()
for _ in range(3):
    get_logger().error("something_happened", text="x" * 100_000)
print("went on")
"""


def test_what_is_logged_where_nobody_reads_it_any_more_is_dropped() -> None:
    command = [sys.executable, "-c", WORK]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        process.stderr.close()
        process.stderr = None
        assert process.communicate(timeout=60)[0] == "went on\n"
