"""The folders of the store, apart from each other on the disk."""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

# ioctl_iflags(2), and FS_TOPDIR_FL of linux/fs.h, which is the `T` of chattr(1).
GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602
TOP_OF_TREES = 0x00020000


def make_folders(folder: Path) -> None:
    """Make what the store expects in its folder, where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    _spread(folder)
    for name in ("spool", *(f"{first:02x}" for first in range(256))):
        (folder / name).mkdir(mode=0o700, exist_ok=True)


def _spread(folder: Path) -> None:
    """Have ext4 put each folder that is made in this one into a group of inodes of its own.

    It gives a file an inode of its folder's group, and looks past each one there that was given back in the last half minute:
    where an hour's images come and go in a few groups, that took longer than all the rest of an upload.
    """
    if sys.platform != "linux":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # file systems of other kinds have no such flag
            flags = int.from_bytes(fcntl.ioctl(descriptor, GET_FLAGS, bytes(8)), sys.byteorder)
            fcntl.ioctl(descriptor, SET_FLAGS, (flags | TOP_OF_TREES).to_bytes(8, sys.byteorder))
    finally:
        os.close(descriptor)
