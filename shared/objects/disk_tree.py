"""Folders of objects, blocking: walked in the order of the keys, removed without following symbolic links, synced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from heapq import nsmallest
from pathlib import Path

from shared.objects.object_keys import is_key

NAMES_AT_ONCE = 10_000  # about 1 MB; a folder of a million files is then read a hundred times, but never held whole


def walk(folder: Path, prefix: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
    """Give key and status of each file below `folder`, whose keys begin with `prefix`, where the key is above `after`."""
    last = ""
    while names := nsmallest(NAMES_AT_ONCE, _names(folder, prefix, after, last)):
        for name in names:
            if name.endswith("/"):
                yield from walk(folder / name[:-1], prefix + name, after)
            else:
                with suppress(FileNotFoundError):
                    yield prefix + name, (folder / name).lstat()
        last = names[-1]
        if len(names) < NAMES_AT_ONCE:
            return


def _names(folder: Path, prefix: str, after: str, last: str) -> Iterator[str]:
    """List names above `last`; a folder's ends with a slash, which is how keys sort: `a-b`, `a/b`, `a0`."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                name = f"{entry.name}/"
                wanted = prefix + name > after or after.startswith(prefix + name)
            else:
                name = entry.name
                wanted = prefix + name > after and entry.is_file(follow_symlinks=False)
            if wanted and name > last and is_key(prefix + entry.name):
                yield name


def remove_tree(folder: Path) -> None:
    """Unlink the files below `folder` and the folders this empties, it included; what others add meanwhile stays."""

    def unless_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    for current, _, files in os.walk(folder, topdown=False, onerror=unless_gone):
        for name in files:
            Path(current, name).unlink(missing_ok=True)
        try:
            Path(current).rmdir()
        except OSError:
            with suppress(FileNotFoundError):
                sync_folder(Path(current))


def remove_emptied(folder: Path, root: Path) -> None:
    """Remove `folder` and the folders above it, as far as they are empty and below `root`; sync the one that stays."""
    while folder != root:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        folder = folder.parent
    with suppress(FileNotFoundError):
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
