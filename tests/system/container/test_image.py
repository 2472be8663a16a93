"""The image as it is shipped: every process an ordinary user on a read-only root, and the first purchase driven through them."""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.image import ContainerStack, Image, built_images
from tests.support.stack import MODULES
from tests.system.e2e.test_readme import buy_a_picture

pytestmark = pytest.mark.timeout(900)  # two folders of packages are put together first


@pytest.fixture(scope="module")
def images() -> Iterator[tuple[Image, Image]]:
    with built_images() as both:
        yield both


@pytest.fixture(scope="module")
def stack(images: tuple[Image, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerStack]:
    whole = ContainerStack(tmp_path_factory.mktemp("stack"), *images)
    try:
        whole.start(*MODULES)
        yield whole
    finally:
        whole.stop_all()


def test_the_first_purchase_works_as_written(stack: ContainerStack, tmp_path: Path) -> None:
    buy_a_picture(stack, tmp_path)


@pytest.mark.parametrize("process", MODULES)
def test_each_process_is_an_ordinary_user_on_a_root_that_it_cannot_write(stack: ContainerStack, process: str) -> None:
    proc = Path(f"/proc/{stack.pid(process)}")
    said = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    assert said["Uid"].split() == said["Gid"].split() == ["10001"] * 4
    assert {said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert said["NoNewPrivs"] == "1"
    options = {
        fields[4]: fields[5].split(",") for fields in map(str.split, (proc / "mountinfo").read_text().splitlines())
    }
    assert "ro" in options["/"]
    assert {folder for folder in ("/tmp", "/data") if "rw" in options[folder]} == {"/tmp", "/data"}
    assert (proc / "root/app/shared").is_dir()


def test_what_has_no_place_in_production_is_not_in_its_image(images: tuple[Image, Image]) -> None:
    production, development = images
    assert not (production.root / "app/stripe_sandbox").exists()
    assert (development.root / "app/stripe_sandbox").is_dir()
    kept = {path.name for path in (production.root / "app").iterdir()}
    assert kept == {".venv", "clients", "gateway", "services", "shared", "web"}
    packages = {path.name for path in (production.root / "app/.venv/lib/python3.11/site-packages").iterdir()}
    assert {"aiohttp", "stripe"} <= packages
    assert not {"pip", "setuptools", "pytest"} & packages


def test_the_package_index_of_who_builds_it_is_not_in_it(images: tuple[Image, Image]) -> None:
    for image in images:
        assert not list(image.root.rglob("pip.conf"))
        assert not list(image.root.rglob("ca.pem"))
        assert not [line for line in image.config["Env"] if re.match("pip|https?_proxy|ssl", line, re.IGNORECASE)]


def test_how_large_it_is_and_how_soon_it_answers(stack: ContainerStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Say it; a slow machine is no fault of the image."""
    image = stack.images["gateway"]
    assert stack.stop("temp-image") == 0
    began = time.monotonic()
    stack.start("temp-image")
    with urllib.request.urlopen(f"{stack.url('temp-image')}/ready") as answer:
        assert answer.status == 200
    seconds = time.monotonic() - began
    whole, own = (image.size_bytes(folder) / 1e6 for folder in ("", "app"))
    with capsys.disabled():
        sys.stdout.write(f"\nimage {whole:.0f} MB, {own:.0f} of it not its base; temp-image ready in {seconds:.1f} s\n")
