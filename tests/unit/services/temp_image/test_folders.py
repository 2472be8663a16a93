from __future__ import annotations

import errno
import fcntl
import sys
from pathlib import Path

import pytest

from services.temp_image.adapters.disk.folders import SET_FLAGS, TOP_OF_TREES, make_folders

INDEXED = 0x1000  # a flag that the file system has set


def test_the_file_system_is_asked_to_keep_the_folders_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"before": INDEXED, "after": 0}

    def ioctl(_descriptor: int, request: int, argument: bytes) -> bytes:
        if request == SET_FLAGS:
            flags["after"] = int.from_bytes(argument, sys.byteorder)
        return flags["before"].to_bytes(8, sys.byteorder)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    make_folders(tmp_path / "images")
    assert flags["after"] == INDEXED | TOP_OF_TREES


def test_a_file_system_that_cannot_has_the_folders_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ioctl(*_: object) -> bytes:
        raise OSError(errno.ENOTTY, "no such request")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    for _ in range(2):
        make_folders(tmp_path / "images")
    assert len(list((tmp_path / "images").iterdir())) == 257
