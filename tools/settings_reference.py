"""`make settings`: docs/settings.md and .env.example, made from the settings classes and the words under their fields."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from shared.settings import SettingsPart
from stack.checks import PROCESSES

ROOT = Path(__file__).resolve().parent.parent
REFERENCE, EXAMPLE = ROOT / "docs/settings.md", ROOT / ".env.example"
EXAMPLE_WIDTH = 110
# `<SERVICE>_WORKERS` and `<SERVICE>_DATABASE_URL` are explained once.
PER_SERVICE = re.compile(r"[A-Z_]+_(WORKERS|DATABASE_URL)")

REFERENCE_HEAD = """# Settings

Each is an environment variable, or a line of `.env`; the environment wins, and an empty value means the default. A start
with wrong ones names each of them in a line and ends with 2; `make doctor` asks what they lead to. This page and `.env.example`
are made from the settings classes by `make settings`.
"""
EXAMPLE_HEAD = """\
# Keepsake's settings. `make run` copies this file to .env and fills the random secrets.
# Environment variables win over .env; an empty value means the default. docs/settings.md has an example for each.
"""


@dataclass(frozen=True)
class Setting:
    """One setting, and the class whose field has words about it."""

    model: type[SettingsPart]
    field: str
    name: str
    default: str
    means: str
    example: str
    readers: tuple[str, ...]

    @property
    def group(self) -> str:
        """The process that it belongs to, or what the settings of several are about."""
        for process, model in PROCESSES.items():
            if self.model.__module__ == model.__module__:
                return process
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.model.__name__).capitalize()


def _words(model: type[SettingsPart]) -> dict[str, str]:
    """Return the string under each field of the class's own."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: " ".join(str(below.value.value).split())
        for field, below in pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def names_in(model: type[SettingsPart]) -> set[str]:
    """Return every variable that a process with these settings reads, but PORT, which has each process's own name."""
    return {name for field in model.model_fields.items() for name in names_of(*field)} - {"PORT"}


def names_of(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return the variables that a field is read from, the general one last."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return tuple(str(choice).upper() for choice in choices)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def settings() -> Iterator[Setting]:
    """Give every setting that there are words about: those of several processes first, then those of each."""
    parts = dict.fromkeys(
        part
        for model in sorted(PROCESSES.values(), key=lambda model: model.__module__)
        for part in reversed(model.__mro__)
        if issubclass(part, SettingsPart)
    )
    for part in sorted(parts, key=lambda part: not part.__module__.startswith("shared.")):
        for field, words in _words(part).items():
            found = part.model_fields[field]
            name = names_of(field, found)[-1]
            means, _, example = words.partition(" Example: ")
            readers = tuple(process for process, model in PROCESSES.items() if name in names_in(model))
            yield Setting(part, field, name, _default(found.default), means, example.strip("`"), readers)


def _groups() -> dict[str, list[Setting]]:
    groups: dict[str, list[Setting]] = {}
    for setting in settings():
        groups.setdefault(setting.group, []).append(setting)
    return groups


def known_names() -> set[str]:
    """Return every variable that any process reads."""
    return set().union(*map(names_in, PROCESSES.values()))


def reference() -> str:
    """Return the text of docs/settings.md."""
    lines = [REFERENCE_HEAD]
    for group, found in _groups().items():
        lines.append(f"## {group}")
        if group not in PROCESSES and len(readers := found[0].readers) < len(PROCESSES):
            lines += [f"Read by {', '.join(readers)}.", ""]
        lines += ["| setting | default | means | example |", "|---|---|---|---|"]
        for setting in found:
            default = f"`{setting.default}`" if setting.default else ""
            others = [reader for reader in setting.readers if reader != group]
            read = f" Read by {', '.join(others)}." if group in PROCESSES and others else ""
            cells = (f"`{setting.name}`", default, setting.means + read, f"`{setting.example}`")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def example() -> str:
    """Return the text of .env.example."""
    lines = [EXAMPLE_HEAD]
    for group, found in _groups().items():
        lines.append(f"# --- {group} ".ljust(EXAMPLE_WIDTH, "-"))
        for setting in found:
            means = textwrap.wrap(setting.means.replace("`", ""), EXAMPLE_WIDTH, break_on_hyphens=False)
            lines += [*(f"# {line}" for line in means), f"{setting.name}={setting.default}"]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.settings_reference", description=__doc__).parse_args()
    REFERENCE.write_text(reference())
    EXAMPLE.write_text(example())
    sys.stdout.write(f"Wrote {REFERENCE.relative_to(ROOT)} and {EXAMPLE.relative_to(ROOT)}.\n")
