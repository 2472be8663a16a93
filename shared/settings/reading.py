"""Reading settings at a start: all that is wrong is said at once, and nothing else is."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import AliasChoices, ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from shared.settings.parts import ServerSettings, SettingsPart

SettingsT = TypeVar("SettingsT", bound=SettingsPart)


def _name_of(model: type[SettingsPart], location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    named = str(location[0])  # the field's name, or the first of its aliases
    aliases = [found.validation_alias for found in model.model_fields.values()]
    for alias in aliases:
        if isinstance(alias, AliasChoices) and named in alias.choices:
            names = [str(choice) for choice in alias.choices]
            given = EnvSettingsSource(model).env_vars.keys() | DotEnvSettingsSource(model).env_vars.keys()
            return next((name for name in names if name.lower() in given), " or ".join(reversed(names)))
    known = model.model_fields.get(named)
    return str((known and known.validation_alias) or named).upper()


def _name_in(line: str) -> str:
    return re.split(r"[^A-Z0-9_]", line, maxsplit=1)[0]


def explain(model: type[SettingsPart], error: ValidationError) -> list[str]:
    """Say in a sentence each which settings are wrong, without their values."""
    lines: dict[str, str] = {}  # one for each: a list of networks is wrong as either kind of address
    for found in error.errors(include_input=False, include_url=False):
        message = found["msg"].removeprefix("Value error, ")
        name = _name_of(model, found["loc"])
        lines.setdefault(name or message, f"{name}: {message}." if name else f"{message}.")
    return list(lines.values())


def _defaults_for(model: type[SettingsPart], error: ValidationError) -> dict[str, Any]:
    """Return the defaults of the fields that the error is about, by the names that it has for them."""
    named = {str(found["loc"][0]) for found in error.errors() if found["loc"]}
    return {
        name: field.default
        for key, field in model.model_fields.items()
        for name in named.intersection((key, *getattr(field.validation_alias, "choices", (field.validation_alias,))))
    }


def read_settings(model: type[SettingsT]) -> tuple[SettingsT | None, list[str]]:
    """Read `model` from the environment; return it, or all that is wrong, in a sentence each."""
    lines: list[str] = []
    try:
        settings = model.read()
    except ValidationError as error:
        lines = explain(model, error)
        # What else is wrong shows only where each field can be read.
        settings = model.read(**_defaults_for(model, error))
    told = {_name_in(line) for line in lines}
    folders = settings.folders if isinstance(settings, ServerSettings) else {}
    lines += [f"{problem}." for problem in settings.problems() if _name_in(problem) not in told]
    lines += [problem for name, folder in folders.items() if (problem := _unwritable(name, folder))]
    lines += _unmakeable(model, settings)
    return (None, lines) if lines else (settings, [])


def _unwritable(name: str, folder: Path) -> str:
    """Say why nothing can be written there; empty where it can, or where only room is missing: that may come back."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTDIR}:
            return f"{name}: {folder} is no folder."
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return "" if full else f"{name}: the folder {folder} cannot be written: {os.strerror(error.errno or 0)}."


def _unmakeable(model: type[SettingsPart], settings: SettingsPart) -> Iterator[str]:
    """Say why SQLite could not make its file where a `DATABASE_URL` has it: unlike `DATA_DIR`, its folder must be there."""
    scheme, _, path = getattr(settings, "database_url", "").partition("?")[0].partition(":///")
    if not scheme.startswith("sqlite") or path in {"", ":memory:"}:
        return
    alias = model.model_fields["database_url"].validation_alias
    name = _name_of(model, (str(alias.choices[0]) if isinstance(alias, AliasChoices) else "database_url",))
    folder = Path(path).parent
    if Path(path).is_dir():
        yield f"{name}: {path} is a folder, and no file."
    elif not folder.is_dir():
        yield f"{name}: the folder {folder} is not there: make it, or name another."
    elif not Path(path).exists() and (problem := _unwritable(name, folder)):
        yield problem


def load_settings(model: type[SettingsT]) -> SettingsT:
    """Read `model` from the environment, or end the process with status 2 and a line for each setting that is wrong."""
    settings, lines = read_settings(model)
    if settings is None:
        refuse_start(lines)
    return settings


def refuse_start(lines: Iterable[str]) -> NoReturn:
    """End the process with status 2, and say why on standard error."""
    sys.stderr.writelines(f"keepsake: {line}\n" for line in lines)
    raise SystemExit(2)
