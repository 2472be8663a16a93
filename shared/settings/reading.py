"""Reading settings at a start: all that is wrong is said at once, and nothing else is."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import AliasChoices, ValidationError

from shared.settings.parts import ServerSettings, SettingsPart

SettingsT = TypeVar("SettingsT", bound=SettingsPart)


def _name_of(model: type[SettingsPart], location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    named = str(location[0])  # the field's name, or the first of its aliases
    aliases = [found.validation_alias for found in model.model_fields.values()]
    for alias in aliases:
        if isinstance(alias, AliasChoices) and named in alias.choices:  # nothing says which of them was set
            return " or ".join(str(choice) for choice in reversed(alias.choices))
    known = model.model_fields.get(named)
    return str((known and known.validation_alias) or named).upper()


def explain(model: type[SettingsPart], error: ValidationError) -> list[str]:
    """Say in a sentence each which settings are wrong, without their values."""
    lines: dict[str, str] = {}  # one for each: a list of networks is wrong as either kind of address
    for found in error.errors(include_input=False, include_url=False):
        message = found["msg"].removeprefix("Value error, ")
        name = _name_of(model, found["loc"])
        lines.setdefault(name or message, f"{name}: {message}." if name else f"{message}.")
    return list(lines.values())


def _fields_of(model: type[SettingsPart], error: ValidationError) -> set[str]:
    """Return the fields that the error is about."""
    named = {str(found["loc"][0]) for found in error.errors() if found["loc"]}
    return {
        name
        for name, known in model.model_fields.items()
        if named.intersection((name, *getattr(known.validation_alias, "choices", (known.validation_alias,))))
    }


def read_settings(model: type[SettingsT]) -> tuple[SettingsT | None, list[str]]:
    """Read `model` from the environment; return it, or all that is wrong, in a sentence each."""
    try:
        settings = model()
    except ValidationError as error:
        lines = explain(model, error)
        fields = _fields_of(model, error)
        try:  # what else is wrong shows only where each field can be read
            if fields:
                model(**{name: model.model_fields[name].default for name in fields})
        except ValidationError as others:
            lines += [line for line in explain(model, others) if line not in lines]
        return None, lines
    folders = settings.folders if isinstance(settings, ServerSettings) else {}
    lines = [problem for name, folder in folders.items() if (problem := _unwritable(name, folder))]
    return (None, lines) if lines else (settings, [])


def _unwritable(name: str, folder: Path) -> str:
    """Say why nothing can be written there; empty where it can, or where only room is missing: that may come back."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return "" if full else f"{name}: the folder {folder} cannot be written: {os.strerror(error.errno or 0)}."


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
