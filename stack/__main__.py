"""`python -m stack [--reload]`: write `.env`, check settings and ports, become supervisord; `python -m stack doctor` asks."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from stack.checks import check_ports, load_processes, shop_runs
from stack.env import write_env

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "supervisord.conf"


def main() -> None:
    """Check everything that can be checked without starting, then hand over to supervisord in this very process."""
    os.chdir(ROOT)
    if write_env(ROOT / ".env.example", ROOT / ".env"):
        sys.stdout.write("Wrote .env with fresh random secrets.\n")
    processes = load_processes()
    sandbox = any(process.name == "stripe-sandbox" for process in processes)
    check_ports(processes)
    shop = shop_runs(processes)
    if sandbox:
        sys.stdout.write("Payments go to the Stripe sandbox on this machine: no real money moves.\n")
    sys.stdout.flush()
    gateway = next(process.settings.port for process in processes if process.name == "gateway")
    os.environ["KEEPSAKE_SANDBOX"] = "true" if sandbox else "false"
    os.environ["KEEPSAKE_SHOP"] = "true" if shop else "false"
    os.environ["DEMO_SHOP"] = "on" if shop else "off"  # the front page links to the shop only where it runs
    os.environ["KEEPSAKE_RELOAD"] = "true" if "--reload" in sys.argv else "false"
    os.environ["KEEPSAKE_GATEWAY"] = f"http://localhost:{gateway}"
    os.environ["KEEPSAKE_STARTED"] = str(time.time())
    os.execv(sys.executable, [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(CONFIG)])  # noqa: S606


if __name__ == "__main__":
    if sys.argv[1:2] == ["doctor"]:
        from stack.doctor import main as examine

        raise SystemExit(examine(sys.argv[2:]))
    main()
