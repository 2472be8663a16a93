"""`python -m stack.backup backup|restore DIR`: a copy of what the embedded defaults keep, and the way back.

A backup may be made while the stack runs. The databases are copied first, each by SQLite's own online backup, and the files after
them: an object is there before its row is, so every row of the copy finds its object. What was deleted meanwhile is a row without
its object, which `python -m services.media_store reconcile --apply` removes. The manifest comes last: a copy without
one is not whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa
from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource

from services.checkout.settings import CheckoutSettings
from services.media_store.settings import MediaStoreSettings
from services.temp_image.settings import TempImageSettings
from shared.settings import DatabaseSettings, ServerSettings, explain, refuse_start
from stack.checks import PROCESSES

DATABASES = ("*.db", "stripe-sandbox/*.sqlite3")  # in DATA_DIR; a file of such a name further down is somebody's upload
OF_A_DATABASE = ("-wal", "-shm", "-journal")  # SQLite makes these anew
LOCKS = "*.migrations.lock"
DATA = "data"
ENV = "env"
MANIFEST = "manifest.json"
COPIED_AT_ONCE = 2**20  # bytes
PART = 3  # the status of a copy that lacks something


class Refused(Exception):
    """Nothing was done, for the reason given."""


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # deleted while the backup ran
        raise error


def _files(folder: Path) -> Iterator[Path]:
    """Find every file; raises Refused for what would be left out: a link, or a device."""
    for found, folders, names in os.walk(folder, onerror=_raise):
        for path in (Path(found, name) for name in [*folders, *sorted(names)]):
            with suppress(FileNotFoundError):
                if stat.S_IFMT(path.lstat().st_mode) not in {stat.S_IFREG, stat.S_IFDIR}:
                    raise Refused(f"{path} is neither a file nor a folder, and cannot be copied.")
        yield from (Path(found, name) for name in sorted(names))


def _databases(data_dir: Path) -> list[Path]:
    return [file for pattern in DATABASES for file in sorted(data_dir.glob(pattern))]


def _copy_database(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(source, timeout=30)) as opened, closing(sqlite3.connect(target)) as copy:
            opened.backup(copy)
            if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise Refused(f"{source} is damaged: SQLite's integrity check fails.")
    except sqlite3.Error as error:
        raise Refused(f"{source} cannot be copied: {error}.") from None


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, COPIED_AT_ONCE)
        modified = os.fstat(read.fileno()).st_mtime_ns  # an object's ETag is made of it
    os.utime(target, ns=(modified, modified))


def _contents(folder: Path) -> dict[str, dict[str, int | str]]:
    """Return the size in bytes and the SHA-256 of each file of a copy, but its manifest."""
    contents: dict[str, dict[str, int | str]] = {}
    for path in _files(folder):
        if path != folder / MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            contents[str(path.relative_to(folder))] = {"size": path.stat().st_size, "sha256": digest}
    return contents


def _require_whole(source: Path) -> None:
    """Compare a copy with its manifest."""
    try:
        promised = dict(json.loads((source / MANIFEST).read_bytes()))
    except FileNotFoundError:
        raise Refused(f"{source} is no backup, or one that was not finished: it has no {MANIFEST}.") from None
    except (ValueError, TypeError):
        raise Refused(f"{source} is not whole: {MANIFEST} cannot be read.") from None
    found = _contents(source)
    for name in sorted({**promised, **found}):
        if promised.get(name) != found.get(name):
            state = "is missing" if name not in found else "was changed" if name in promised else "was added"
            raise Refused(f"{source} is not whole: {name} {state}.")


def _require_free(name: str, folder: Path) -> None:
    if folder.is_mount():
        raise Refused(f"{name} is a mount point, which cannot be put in place whole: name a folder in it.")
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{name} is not a folder.")
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{name} is not empty: nothing that is there is overwritten.")


@contextmanager
def _put_in_place(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` that becomes it when the block ends, and is removed when it fails."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        unfinished.mkdir(parents=True)
    except FileExistsError:
        raise Refused(f"{unfinished} is there: another run is at work, or was cut off; then remove it.") from None
    try:
        yield unfinished
        os.sync()
        unfinished.replace(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    os.sync()


def _tables_and_images_elsewhere(data_dir: Path, env: Path) -> Iterator[str]:
    """Say which settings keep outside of `data_dir` what a copy must not lack."""
    general = DatabaseSettings.read(_env_file=env).database_url
    found: dict[str, None] = {}
    for service, model in PROCESSES.items():
        url = getattr(model.read(_env_file=env), "database_url", "")
        if not url:
            continue
        file = Path(sa.make_url(url).database or "").resolve()
        is_known = any(file.match(pattern) and file.parent == (data_dir / pattern).parent for pattern in DATABASES)
        if not (url.startswith("sqlite") and is_known):
            prefix = "" if url == general else f"{service.upper().replace('-', '_')}_"
            found[f"{prefix}DATABASE_URL: these tables are not at the top of DATA_DIR ({data_dir})"] = None
    yield from found
    if (backend := MediaStoreSettings.read(_env_file=env).storage_backend) != "local":
        yield f"STORAGE_BACKEND={backend}: the images are in a bucket"


def _not_included(data_dir: Path, env: Path) -> Iterator[str]:
    """Say what else is not in a copy, and why."""
    temporary, checkout = TempImageSettings.read(_env_file=env), CheckoutSettings.read(_env_file=env)
    if temporary.redis_url:
        yield "REDIS_URL: temporary images and ended sessions are in Redis, not in the copy."
    elif temporary.temp_dir and not temporary.temp_dir.resolve().is_relative_to(data_dir):
        yield f"TEMP_DIR: the temporary images in {temporary.temp_dir} are not in the copy."
    if checkout.catalogue_file and not checkout.catalogue_file.resolve().is_relative_to(data_dir):
        yield f"CATALOGUE_FILE: {checkout.catalogue_file} is not in the copy."
    if MediaStoreSettings.read(_env_file=env).cloudinary_url:
        yield "CLOUDINARY_URL: images at Cloudinary are not in the copy."


def _require_embedded(data_dir: Path, env: Path) -> None:
    if elsewhere := list(_tables_and_images_elsewhere(data_dir, env)):
        told = "; ".join(elsewhere)
        raise Refused(f'{told}. docs/operations.md, "Back up and restore", says how these are copied.')


def backup(data_dir: Path, env: Path, target: Path) -> list[str]:
    """Copy `data_dir` and the settings into `target`, which appears when it is whole.

    Returns a sentence for each thing that is not in it. Raises Refused.
    """
    if not data_dir.is_dir():
        raise Refused(f"There is nothing to back up: DATA_DIR ({data_dir}) is not there.")
    if target.is_relative_to(data_dir):
        raise Refused(f"{target} is in DATA_DIR ({data_dir}), which is copied: name a folder elsewhere.")
    _require_free(str(target), target)
    _require_embedded(data_dir, env)
    with _put_in_place(target) as unfinished:
        (unfinished / DATA).mkdir()
        known = set(data_dir.glob(LOCKS))
        for file in _databases(data_dir):
            _copy_database(file, unfinished / DATA / file.relative_to(data_dir))
            known |= {file, *(file.with_name(file.name + suffix) for suffix in OF_A_DATABASE)}
        for file in _files(data_dir):
            if file not in known:
                with suppress(FileNotFoundError):  # deleted while the backup ran
                    _copy_file(file, unfinished / DATA / file.relative_to(data_dir))
        if env.exists():  # its secrets open what the databases have sealed
            _copy_file(env, unfinished / ENV)
        os.sync()
        (unfinished / MANIFEST).write_text(json.dumps(_contents(unfinished), indent=1))
    return list(_not_included(data_dir, env))


def _values(env: Path) -> Mapping[str, str | None]:
    return DotEnvSettingsSource(ServerSettings, env_file=env).env_vars


def _secrets() -> Iterator[str]:
    """Name the settings that are never shown."""
    for model in PROCESSES.values():
        for name, field in model.model_fields.items():
            if not field.repr:
                alias = field.validation_alias or name
                yield from (str(choice).upper() for choice in getattr(alias, "choices", [alias]))


def _require_same_secrets(copied: Path, env: Path) -> None:
    theirs, ours = _values(copied), _values(env)
    names = [
        name for name in sorted({*_secrets()}) if (theirs.get(name.lower()) or "") != (ours.get(name.lower()) or "")
    ]
    if names:
        raise Refused(
            f"{env} has other secrets than the copy ({', '.join(names)}), which the data needs: move it away, and begin again."
        )


def restore(source: Path, data_dir: Path, env: Path) -> None:
    """Put a backup's data where nothing is yet, and its settings where there are none.

    Raises Refused where the copy is not whole or does not fit, and has written nothing then.
    """
    copied = source / ENV
    _require_whole(source)
    _require_free(f"DATA_DIR ({data_dir})", data_dir)
    if data_dir.is_relative_to(source):
        raise Refused(f"DATA_DIR ({data_dir}) is in the copy: name a folder elsewhere.")
    _require_embedded(data_dir, env if env.exists() else copied)
    is_env_new = copied.exists() and not env.exists()
    if copied.exists() and env.exists():
        _require_same_secrets(copied, env)
    try:
        with _put_in_place(data_dir) as unfinished:
            for file in _files(source / DATA):
                _copy_file(file, unfinished / file.relative_to(source / DATA))
            if is_env_new:  # before the data: a start between the two would make secrets that do not open it
                _copy_file(copied, env)
    except BaseException:
        if is_env_new:
            env.unlink(missing_ok=True)
        raise


def _stop(number: int, _frame: object) -> NoReturn:
    """End by an exception, so that what was begun is removed."""
    raise SystemExit(128 + number)


def main() -> None:
    """Do what the command line asks for; end with status 1 and a sentence where it is refused, 3 where something is lacking."""
    parser = argparse.ArgumentParser(prog="python -m stack.backup", description=__doc__)
    parser.add_argument("action", choices=["backup", "restore"])
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    os.umask(0o077)  # files 0600, folders 0700
    env, folder, lacking = Path(".env"), asked.folder.resolve(), []
    used = env if env.exists() or asked.action == "backup" else folder / ENV  # DATA_DIR may stand in it
    try:
        data_dir = ServerSettings.read(_env_file=used).data_dir.resolve()
        if asked.action == "backup":
            lacking = backup(data_dir, env, folder)
        else:
            restore(folder, data_dir, env)
    except ValidationError as error:
        refuse_start(explain(ServerSettings, error))
    except (Refused, OSError) as error:
        sys.stderr.write(f"keepsake: {error}\n")
        raise SystemExit(1) from None
    sys.stderr.writelines(f"keepsake: {line}\n" for line in lacking)
    done = "Backed up to" if asked.action == "backup" else "Restored from"
    sys.stdout.write(f"{done} {asked.folder}{', but for what is named' if lacking else ''}.\n")
    raise SystemExit(PART if lacking else 0)


if __name__ == "__main__":
    main()
