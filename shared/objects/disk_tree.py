"""Folders of objects, blocking: files put in their places, walked in the order of the keys, removed and synced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from heapq import nsmallest
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from shared.errors import DependencyDown
from shared.objects.object_keys import ObjectNotFound, is_key
from shared.objects.protocol import ObjectExists

PLACE_ATTEMPTS = 100  # each lost one means that somebody else just removed the emptied folder
NO_SUCH_FILE = (FileNotFoundError, NotADirectoryError)
DURABLE_FOLDERS = 64
NAMES_AT_ONCE = 10_000  # about 1 MB; a folder of a million files is then read a hundred times, but never held whole


class _DurableFolders:
    """Folders that were synced together with all above them: what is put into one needs a sync of that folder alone.

    Each stays open, so that no new folder gets its inode number.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], int] = {}
        self._lock = Lock()

    def sync(self, folder: Path, root: str) -> None:
        """Make the entries of `folder` durable, and its own name with those above it, below `root`."""
        with ExitStack() as opened:
            synced = {}
            for above in (folder, *folder.parents):
                with suppress(FileNotFoundError):  # gone: somebody deleted the object already
                    descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
                    opened.callback(os.close, descriptor)
                    os.fsync(descriptor)
                    status = os.fstat(descriptor)
                    identity = status.st_dev, status.st_ino
                    if identity in self._held or str(above) == root:
                        break
                    synced[identity] = descriptor
            with self._lock:
                for identity in synced.keys() - self._held.keys():
                    self._held[identity] = os.dup(synced[identity])
                while len(self._held) > DURABLE_FOLDERS:
                    os.close(self._held.pop(next(iter(self._held))))


_DURABLE = _DurableFolders()


class DiskTree(NamedTuple):
    """The folder `root`, an absolute path without symbolic links, whose layout equals the keys; none is followed below it."""

    root: str

    def path(self, key: str) -> Path:
        """Return where `key` lies. Raises ObjectNotFound where that is behind a symbolic link."""
        folder, _, name = key.rpartition("/")
        return Path(f"{self._plain(folder)}/{name}")

    def open(self, key: str) -> tuple[int, os.stat_result]:
        """Open the file of `key`; return its descriptor and status. Raises ObjectNotFound as `path` does, and for no file."""
        folder, _, name = key.rpartition("/")
        try:
            descriptor = os.open(f"{self._plain(folder)}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            # ELOOP: a symbolic link has this name.
            if isinstance(error, NO_SUCH_FILE) or error.errno == errno.ELOOP:
                raise ObjectNotFound from error
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ObjectNotFound
        return descriptor, status

    def folder(self, prefix: str) -> Path:
        """Return where keys that begin with `prefix` lie. Raises ObjectNotFound as `path` does."""
        return Path(self._plain(prefix))

    def _plain(self, prefix: str) -> str:
        folder = self.root
        # Only below the root, which is resolved: os.path.realpath would begin at / and take ten times as long.
        for name in prefix.rstrip("/").split("/") if prefix else ():
            folder = f"{folder}/{name}"
            if os.path.islink(folder):  # noqa: PTH114 - a Path for each folder would cost more than the look
                raise ObjectNotFound
        return folder

    def place(self, source: Path, key: str, *, if_absent: bool = False) -> None:
        """Move the file `source` to `key`, durably: the bytes first, then the name and the folders on its way.

        With `if_absent` its old name stays beside the new one, and a key that is taken raises ObjectExists.
        """
        sync(source)
        target = self.path(key)
        for _ in range(PLACE_ATTEMPTS):
            try:
                (os.link if if_absent else os.replace)(source, target)
                break
            except FileExistsError as error:
                raise ObjectExists from error
            except FileNotFoundError:
                if not source.exists():
                    raise
                with suppress(FileNotFoundError):
                    target.parent.mkdir(parents=True, exist_ok=True)
        else:
            raise DependencyDown("storage")
        _DURABLE.sync(target.parent, self.root)

    def remove(self, key: str) -> None:
        """Unlink the file of `key`, if there is one, and the folders that it leaves empty."""
        try:
            path = self.path(key)
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ObjectNotFound):
            return
        remove_emptied(path.parent, Path(self.root))


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
                sync(Path(current))


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
        sync(folder)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
