"""The files that run Keepsake agree with the settings and processes there are."""

from __future__ import annotations

import configparser
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared import VERSION
from shared.app.routes import ServiceInfo
from shared.settings import read_settings
from stack.checks import PROCESSES
from stack.env import GENERATED, write_env
from stack.reload import newest_change
from tests.support.stack import MODULES, ROOT
from tools.settings_reference import PER_SERVICE, known_names

EXAMPLE = ROOT / ".env.example"
# What containers do not take from `.env`: it is of the machine's own folders and loopback, or of another bucket than theirs.
HERE_ALONE = {"HOST", "DATA_DIR", "TEMP_DIR", "CATALOGUE_FILE"}
OTHERWISE = re.compile(r"R2_.*|.*_PORT")
VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")  # Compose's interpolation, as far as it is used


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize("process", MODULES)
def test_compose_runs_every_process_with_a_health_check(compose: dict[str, Any], process: str) -> None:
    service = compose["services"][process]
    assert service["command"] == [MODULES[process]]
    assert service["healthcheck"]["test"]
    assert service["read_only"] is True
    assert service["user"] != "root"
    passed_on = {name for name in known_names() - HERE_ALONE if not PER_SERVICE.fullmatch(name)}
    assert set(service["environment"]) == {name for name in passed_on if not OTHERWISE.fullmatch(name)}


@pytest.mark.parametrize("process", MODULES)
def test_compose_gives_every_process_settings_that_are_in_order(
    compose: dict[str, Any], process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_env(EXAMPLE, tmp_path / ".env")
    given = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    (tmp_path / ".env").unlink()  # it is read by Compose, and is not in the image
    monkeypatch.chdir(tmp_path)
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    for name, value in compose["services"][process]["environment"].items():
        monkeypatch.setenv(name, VARIABLE.sub(lambda found: given.get(found[1]) or found[2] or "", str(value)))
    assert read_settings(PROCESSES[process])[1] == []


@pytest.mark.parametrize("process", MODULES)
def test_supervisord_starts_again_what_dies(process: str) -> None:
    config = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    config.read(ROOT / "supervisord.conf")
    program = config[f"program:{process}"]
    assert program["command"].endswith(f"-m {MODULES[process]}")
    assert program["autorestart"] == "true"
    assert int(program["startretries"]) > 10**6


def test_the_first_env_has_fresh_secrets_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert write_env(EXAMPLE, first)
    assert write_env(EXAMPLE, second)
    for name in GENERATED:
        values = {re.findall(rf"^{name}=(.*)$", path.read_text(), re.MULTILINE)[0] for path in (first, second)}
        assert len(values) == 2
        assert min(len(value) for value in values) >= 32
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_an_env_that_is_there_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    target.write_text("HOST=127.0.0.1\n")
    assert not write_env(EXAMPLE, target)
    assert target.read_text() == "HOST=127.0.0.1\n"


def test_no_secret_is_in_the_repository() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    for name in GENERATED:
        assert re.search(rf"^{name}=$", EXAMPLE.read_text(), re.MULTILINE)


def test_there_is_one_version():
    client = json.loads((ROOT / "clients/javascript/package.json").read_text())["version"]
    production = yaml.safe_load((ROOT / "deploy/kubernetes/overlays/production/kustomization.yaml").read_text())
    assert {client, production["images"][0]["newTag"], ServiceInfo("any", "any").version} == {VERSION}
    assert f"## {VERSION}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_a_change_of_the_code_is_seen(tmp_path):
    assert newest_change(tmp_path) == 0
    (tmp_path / "shared").mkdir()
    file = tmp_path / "shared" / "x.py"
    file.write_text("")
    os.utime(file, (1000, 2000))
    assert newest_change(tmp_path) == 2000
