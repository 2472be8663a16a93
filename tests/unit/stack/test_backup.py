"""What a backup holds, what is refused, and that a refusal leaves everything as it was."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from stack import backup as subject
from stack.backup import Refused


def run(folder: Path, action: str, copy: str, **settings: str) -> tuple[int, str, str]:
    """Run the command in `folder`; return its status, and what it said on standard output and error."""
    said, complained, umask = StringIO(), StringIO(), os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(complained):
        patch.chdir(folder)
        patch.setattr(os, "environ", settings)
        patch.setattr(sys, "argv", ["backup", action, copy])
        patch.setattr(signal, "signal", lambda *_: None)
        try:
            with pytest.raises(SystemExit) as ended:
                subject.main()
        finally:
            os.umask(umask)
    return int(ended.value.code or 0), said.getvalue(), complained.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder as `make run` leaves it: `.env`, a database with a row, and objects with all kinds of names."""
    folder = tmp_path / "shop"
    objects = folder / "var/objects/uploads"
    objects.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "var/checkout.db")) as opened, opened:
        opened.execute("CREATE TABLE paid (what TEXT)")
        opened.execute("INSERT INTO paid VALUES ('a photo')")
    (folder / "var/checkout.migrations.lock").touch()
    for name in ("x.db", "foo.sqlite3", "a.lock", "a.db-wal", "a-shm", "a-journal", "a.jpg"):
        (objects / name).write_bytes(name.encode())
    (folder / ".env").write_text("INTERNAL_SECRET=first\nJWT_SECRET_KEY=users\n")
    return folder


@pytest.fixture
def copy(shop: Path, tmp_path: Path) -> Path:
    assert run(shop, "backup", "../copy") == (0, "Backed up to ../copy.\n", "")
    return tmp_path / "copy"


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    (tmp_path / "fresh").mkdir()
    return tmp_path / "fresh"


def test_an_object_is_bytes_whatever_its_name(shop: Path, copy: Path, fresh: Path) -> None:
    assert run(fresh, "restore", str(copy))[0] == 0
    assert tree(fresh / "var/objects") == tree(shop / "var/objects")
    assert (fresh / ".env").read_text() == (shop / ".env").read_text()
    assert not (fresh / "var/checkout.migrations.lock").exists()
    with closing(sqlite3.connect(fresh / "var/checkout.db")) as opened:
        assert opened.execute("SELECT what FROM paid").fetchall() == [("a photo",)]


def test_nobody_else_may_read_the_copy_or_what_is_restored(copy: Path, fresh: Path) -> None:
    assert run(fresh, "restore", str(copy))[0] == 0
    for path in (copy, *copy.rglob("*"), *fresh.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_database_that_is_none_is_refused_by_name(shop: Path, tmp_path: Path) -> None:
    (shop / "var/media-store.db").write_bytes(b"no database" * 100)
    status, _, said = run(shop, "backup", "../copy")
    assert (status, "media-store.db" in said, said.count("\n")) == (1, True, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_link_is_refused_since_it_would_be_left_out(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (shop / "var/temp-images").symlink_to(tmp_path / "elsewhere")
    status, _, said = run(shop, "backup", "../copy")
    assert (status, "var/temp-images" in said, (tmp_path / "copy").exists()) == (1, True, False)


@pytest.mark.parametrize(
    ("file", "left", "named"),
    [
        ("manifest.json", None, "manifest.json"),
        ("manifest.json", b"{", "manifest.json"),
        ("data/checkout.db", None, "checkout.db is missing"),
        ("data/checkout.db", b"", "checkout.db was changed"),
        ("data/objects/uploads/a.jpg", b"a.j", "a.jpg was changed"),
        ("data/objects/uploads/a.jpg", b"a.jpG", "a.jpg was changed"),
        ("data/objects/uploads/new.jpg", b"new", "new.jpg was added"),
        ("env", None, "env is missing"),
    ],
)
def test_a_copy_that_is_not_whole_is_not_restored(
    copy: Path, fresh: Path, file: str, left: bytes | None, named: str
) -> None:
    (copy / file).unlink(missing_ok=True)
    if left is not None:
        (copy / file).write_bytes(left)
    status, _, said = run(fresh, "restore", str(copy))
    assert (status, named in said, said.count("\n")) == (1, True, 1), said
    assert list(fresh.iterdir()) == []


def test_a_restore_onto_data_says_that_it_is_there_and_writes_nothing(copy: Path, fresh: Path) -> None:
    (fresh / "var").mkdir()
    (fresh / "var/mine").touch()
    status, _, said = run(fresh, "restore", str(copy))
    assert (status, said) == (
        1,
        f"keepsake: DATA_DIR ({fresh}/var) is not empty: nothing that is there is overwritten.\n",
    )
    assert tree(fresh) == {"var/mine": b""}


def test_other_secrets_are_refused_by_name_and_the_same_ones_are_not(copy: Path, fresh: Path) -> None:
    (fresh / ".env").write_text("INTERNAL_SECRET=second\nJWT_SECRET_KEY=users\n")
    status, _, said = run(fresh, "restore", str(copy))
    assert (status, "(INTERNAL_SECRET)" in said, "move it away" in said, "second" in said) == (1, True, True, False)
    assert [path.name for path in fresh.iterdir()] == [".env"]
    mine = "JWT_SECRET_KEY=users\nINTERNAL_SECRET=first\nWORKERS=2\n"
    (fresh / ".env").write_text(mine)
    assert run(fresh, "restore", str(copy))[0] == 0
    assert (fresh / ".env").read_text() == mine


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", "postgresql+asyncpg://keepsake:password@localhost/keepsake"),
        ("CHECKOUT_DATABASE_URL", "sqlite+aiosqlite:///elsewhere/checkout.db"),
        ("CHECKOUT_DATABASE_URL", "sqlite+aiosqlite:///var/objects/checkout.db"),
        ("STORAGE_BACKEND", "s3"),
    ],
)
def test_what_must_not_be_missing_and_is_elsewhere_is_refused(
    shop: Path, copy: Path, fresh: Path, setting: str, value: str
) -> None:
    shutil.rmtree(copy)
    status, _, said = run(shop, "backup", "../copy", **{setting: value})
    assert (status, said.startswith(f"keepsake: {setting}"), said.count("\n")) == (1, True, 1), said
    assert "docs/operations.md" in said
    assert "password" not in said
    assert not copy.exists()
    assert run(shop, "backup", "../copy")[0] == 0
    assert run(fresh, "restore", str(copy), **{setting: value})[0] == 1
    assert list(fresh.iterdir()) == []


def test_a_database_that_is_named_and_in_the_data_folder_is_copied(shop: Path) -> None:
    assert run(shop, "backup", "../copy", CHECKOUT_DATABASE_URL="sqlite+aiosqlite:///var/checkout.db")[0] == 0


def test_what_a_copy_lacks_is_named_and_is_a_status_of_its_own(shop: Path, tmp_path: Path) -> None:
    lacking = {
        "TEMP_DIR": str(tmp_path),
        "CATALOGUE_FILE": "/etc/catalogue.toml",
        "CLOUDINARY_URL": "cloudinary://a:b@c",
    }
    status, _, said = run(shop, "backup", "../copy", **lacking)
    assert (status, [line.split(":")[1].strip() for line in said.splitlines()]) == (3, list(lacking))
    status, _, said = run(shop, "backup", "../second", REDIS_URL="redis://localhost:6379/0")
    assert (status, said.count("\n"), "REDIS_URL" in said) == (3, 1, True)


def test_what_another_run_left_is_not_removed_unasked(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.unfinished").mkdir()
    (tmp_path / "copy.unfinished/mine").touch()
    status, _, said = run(shop, "backup", "../copy")
    assert (status, f"{tmp_path}/copy.unfinished" in said) == (1, True)
    assert tree(tmp_path / "copy.unfinished") == {"mine": b""}


def test_a_copy_into_the_data_folder_is_refused(shop: Path) -> None:
    before = tree(shop)
    status, _, said = run(shop, "backup", "var/copy")
    assert (status, "DATA_DIR" in said) == (1, True)
    assert tree(shop) == before


def test_a_mount_point_is_refused_before_anything_is_written(
    copy: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, env = fresh / "var", fresh / ".env"
    data_dir.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == data_dir)
    with pytest.raises(Refused, match="is a mount point"):
        subject.restore(copy, data_dir, env)
    assert [path.name for path in fresh.iterdir()] == ["var"]


def test_a_restore_that_fails_on_its_way_leaves_nothing(
    copy: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        subject.restore(copy, fresh / "var", fresh / ".env")
    assert list(fresh.iterdir()) == []
