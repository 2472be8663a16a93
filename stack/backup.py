"""`python -m stack.backup backup|restore DIR`: a copy of what the embedded defaults keep, and the way back.

A backup may be made while the stack runs. The databases are copied first, each by SQLite's own online backup, and the files after
them: an object is there before its row is, so every row of the copy finds its object. What was deleted meanwhile is a row without
its object, which `python -m services.media_store reconcile --apply` removes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from shared.settings import ServerSettings, load_settings

DATABASES = (".db", ".sqlite3")
OF_A_DATABASE = ("-wal", "-shm", "-journal")  # SQLite makes these anew
DATA = "data"
ENV = "env"


class Refused(Exception):
    """Nothing was done, for the reason given."""


def _files(folder: Path) -> Iterator[Path]:
    for found, _, names in os.walk(folder):
        for name in sorted(names):
            if not name.endswith((*OF_A_DATABASE, ".lock")):
                yield Path(found, name)


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source, timeout=30)) as opened, closing(sqlite3.connect(target)) as copy:
        opened.backup(copy)
        if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise Refused(f"The copy of {source.name} is not whole.")


def _copy_file(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):  # deleted while the backup ran
        shutil.copy2(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy a data folder: its databases, then everything else; the copy is on the disk when this returns."""
    databases = [file for file in _files(source) if file.name.endswith(DATABASES)]
    for file in databases:
        (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _copy_database(file, target / file.relative_to(source))
    known = set(databases)
    for file in _files(source):
        if file not in known:
            (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _copy_file(file, target / file.relative_to(source))
    os.sync()


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is not empty. Name a folder that is not there yet.")


def backup(data_dir: Path, env: Path, target: Path) -> None:
    """Copy `data_dir` and the settings into `target`, which appears when it is whole. Raises Refused."""
    if not data_dir.is_dir():
        raise Refused(f"There is nothing to back up: DATA_DIR ({data_dir}) is not there.")
    _require_empty(target)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    _copy(data_dir, unfinished / DATA)
    if env.exists():  # its secrets open what the databases have sealed
        shutil.copy2(env, unfinished / ENV)
        (unfinished / ENV).chmod(0o600)
    (unfinished / DATA).mkdir(exist_ok=True)
    unfinished.replace(target)


def restore(source: Path, data_dir: Path) -> None:
    """Put a backup's data where nothing is yet. Raises Refused."""
    if not (source / DATA).is_dir():
        raise Refused(f"{source} is no backup: it has no folder named {DATA}.")
    _require_empty(data_dir)
    unfinished = data_dir.with_name(f"{data_dir.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    _copy(source / DATA, unfinished)
    unfinished.replace(data_dir)


def main() -> None:
    """Do what the command line asks for; end with status 1 and one sentence where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m stack.backup", description=__doc__)
    parser.add_argument("action", choices=["backup", "restore"])
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    env = Path(".env")
    try:
        if asked.action == "restore" and (asked.folder / ENV).exists() and not env.exists():
            shutil.copy2(asked.folder / ENV, env)  # DATA_DIR may stand in it; an `.env` that is there stays
        data_dir = load_settings(ServerSettings).data_dir
        if asked.action == "backup":
            backup(data_dir, env, asked.folder)
        else:
            restore(asked.folder, data_dir)
    except (Refused, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"keepsake: {error}\n")
        raise SystemExit(1) from None
    done = "Backed up to" if asked.action == "backup" else "Restored from"
    sys.stdout.write(f"{done} {asked.folder}.\n")


if __name__ == "__main__":
    main()
