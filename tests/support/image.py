"""The container image, built by buildah in a chroot on a base of Debian's own packages, and its processes on a read-only root.

Neither Docker nor a registry is needed; root is, and Debian's `buildah` and `mmdebstrap`.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ServerDidNotStart
from tests.support.stack import MODULES, ROOT, Stack

SUITE = "bookworm"
PYTHON = "python3,python3-venv,python-is-python3,ca-certificates"
UNREAD = ("doc", "man", "locale")
INDEX_SETTINGS = {"index-url", "extra-index-url", "trusted-host", "timeout"}
BUILD_TIMEOUT_S = 900
# In a mount namespace of its own: a read-only root, as Compose's `read_only` and Kubernetes' `readOnlyRootFilesystem` make it,
# and an ordinary user without any capability.
RUN = """
set -e
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/data"
root="$1"; user="$3"; folder="$4"; shift 4
exec chroot "$root" setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all --bounding-set=-all \\
    --no-new-privs env -i -C "$folder" "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: its configuration (OCI image specification), and the folder that its files are mounted at."""

    config: Mapping[str, Any]
    root: Path

    def size_bytes(self, folder: str = "") -> int:
        """Return how large its files are, or those of a folder in it."""
        return sum(path.lstat().st_size for path in (self.root / folder).rglob("*") if not path.is_symlink())


class Builder:
    """buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]:
            raise ServerDidNotStart(f"missing: apt-get install {' '.join(missing)}")
        self._folder = folder
        self._storage: list[str | Path] = [
            "--root",
            folder / "storage",
            "--runroot",
            folder / "run",
            "--storage-driver",
            "overlay",
        ]

    def _run(self, *words: str | Path) -> str:
        command = ["nice", *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=BUILD_TIMEOUT_S)
        if done.returncode:
            raise ServerDidNotStart(f"{words[0]}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()

    def buildah(self, *words: str | Path) -> str:
        """Run one command of buildah; return what it printed."""
        return self._run("buildah", *self._storage, *words)

    def build_base(self) -> str:
        """Make a base image from Debian's packages; return its name."""
        archive = self._folder / "base.tar"
        without = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNREAD]
        self._run(
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PYTHON}"),
            *("--dpkgopt=force-unsafe-io", *without, SUITE, str(archive)),
        )
        (self._folder / "Dockerfile").write_text(f"FROM scratch\nADD {archive.name} /\n")
        self.buildah("bud", "--isolation", "chroot", "-t", "base", self._folder)
        archive.unlink()
        return "localhost/base"

    def build(self, base: str, target: str) -> Image:
        """Build a stage of our Dockerfile and mount it."""
        secrets = [f"--secret=id={path.name},src={path}" for path in self._index()]
        self.buildah(
            *("bud", "--isolation", "chroot", "--layers", "--build-arg", f"BASE={base}"),
            *(*secrets, "--target", target, "-t", target, str(ROOT)),
        )
        said = json.loads(self.buildah("inspect", "--type", "image", f"localhost/{target}"))
        container = self.buildah("from", "--pull-never", f"localhost/{target}")
        return Image(said["OCIv1"]["config"], Path(self.buildah("mount", container)))

    def _index(self) -> Iterator[Path]:
        """Write down where this machine's pip finds packages, and whom it trusts."""
        said = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
        )
        pairs = (line.split("=", 1) for line in said.stdout.splitlines())
        found = {name.rpartition(".")[2]: ast.literal_eval(value) for name, value in pairs}
        lines = [
            f"{name} = {value}" for name, value in found.items() if name in INDEX_SETTINGS and "file:" not in value
        ]
        if certificates := found.get("cert"):
            shutil.copy(certificates, self._folder / "ca.pem")
            lines.append("cert = /run/secrets/ca.pem")
            yield self._folder / "ca.pem"
        (self._folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
        yield self._folder / "pip.conf"

    def close(self) -> None:
        """Unmount and forget everything."""
        self.buildah("rm", "--all")
        self.buildah("rmi", "--all", "--force")
        own = self._folder / "storage" / "overlay"
        if own.is_mount():  # a mount that buildah makes for itself, and leaves
            self._run("umount", own)


class ContainerStack(Stack):
    """The stack from images: the sandbox from the one for development, all others from the one that production runs."""

    def __init__(self, folder: Path, production: Image, development: Image) -> None:
        super().__init__(folder, {"HOST": "localhost"})
        self.images = {name: development if name == "stripe-sandbox" else production for name in MODULES}
        self._data = folder / "data"
        self._data.mkdir()
        user = int(production.config["User"])
        os.chown(self._data, user, user)

    def command(self, name: str) -> list[str]:
        image = self.images[name]
        settings = {name: value for name, value in self.settings.items() if name != "DATA_DIR"}
        environment = [*image.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        return [
            *("unshare", "--mount", "sh", "-c", RUN, "sh"),
            *(str(image.root), str(self._data), image.config["User"], image.config["WorkingDir"]),
            *(*environment, *image.config["Entrypoint"], MODULES[name]),
        ]


@contextmanager
def built_images() -> Iterator[tuple[Image, Image]]:
    """Build the images for production and for development; remove them when the block ends.

    Not in pytest's own folder, which other runs of pytest clear away: there are mounts in it.
    """
    with tempfile.TemporaryDirectory(prefix="keepsake-images-") as folder:
        builder = Builder(Path(folder))
        try:
            base = builder.build_base()
            development = builder.build(base, "development")
            yield builder.build(base, "keepsake"), development
        finally:
            builder.close()
