"""`python -m stack [--reload]`: write `.env`, check settings and ports, become supervisord; `python -m stack doctor` asks."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from stack.checks import check_ports, load_processes, shop_runs
from stack.env import write_env

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "supervisord.conf"


def main() -> None:
    """Do what the command line asks for; end with status 2 and the usage, before anything is written, where it is unknown."""
    parser = argparse.ArgumentParser(prog="python -m stack", description="Run the whole stack in the foreground.")
    parser.add_argument("--reload", action="store_true", help="start each process again when the code changes")
    doctor = parser.add_subparsers(dest="command").add_parser("doctor", help="ask all that can be asked from outside")
    doctor.add_argument("--json", action="store_true", help="for machines")
    asked = parser.parse_args()
    if asked.command == "doctor":
        from stack.doctor import main as examine  # noqa: PLC0415 - a start does without what it needs

        raise SystemExit(examine(as_json=asked.json))
    run(reload=asked.reload)


def run(*, reload: bool) -> None:
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
    os.environ["KEEPSAKE_RELOAD"] = "true" if reload else "false"
    os.environ["KEEPSAKE_GATEWAY"] = f"http://localhost:{gateway}"
    os.environ["KEEPSAKE_STARTED"] = str(time.time())
    os.execv(sys.executable, [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(CONFIG)])  # noqa: S606


if __name__ == "__main__":
    main()
