"""Untrusted JSON bodies and query strings into typed models, refused as the contract says: missing 400, not allowed 422."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cache
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from shared.errors import BadRequest, FieldError, KeepsakeError, NotAllowedValue
from shared.http.body import read_bytes

MAX_JSON_BYTES = 64 * 1024
JSON_TYPES = ("application/json", "text/json")
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 20


class WireModel(BaseModel):
    """A JSON body or answer: no type is guessed (`"2"` is no number), unknown keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def left_out_where_none(description: str | None = None) -> Any:
    """Make the field of an answer that is there only where there is something to say."""
    return Field(None, description=description, exclude_if=lambda value: value is None)


class QueryModel(BaseModel):
    """Query parameters or form fields: text, read as what the field says."""

    model_config = ConfigDict(extra="ignore", frozen=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


# PostgreSQL's text has no NUL (section 8.3 of its manual), so none gets as far as a query.
PlainText = Annotated[str, AfterValidator(_without_nul)]


def length_as_typed(text: str) -> int:
    """Count characters as who typed them does: browsers send a line break as two (HTML, `maxlength`)."""
    return len(text) - text.count("\r\n")


class _TextCheck:
    """Annotates text that `_check` returns or refuses; OpenAPI shows `shown`."""

    def __init__(self, **shown: Any) -> None:
        self._shown = shown

    def _check(self, text: str) -> str:
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after what the annotations before this one say: that it is text, and how long."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), **self._shown}


class MaxChars(_TextCheck):
    """Annotates text that may have so many characters, a line break counting as one."""

    def __init__(self, max_chars: int) -> None:
        super().__init__(maxLength=max_chars)
        self._max_chars = max_chars

    def _check(self, text: str) -> str:
        if length_as_typed(text) > self._max_chars:
            raise PydanticCustomError("string_too_long", "is too long", {"max_length": self._max_chars})
        return text


class Matching(_TextCheck):
    """Annotates text that matches `pattern` whole: OpenAPI shows the pattern, a person reads the sentence."""

    def __init__(self, pattern: str, sentence: str) -> None:
        super().__init__(pattern=f"^(?:{pattern})$")
        self._pattern = re.compile(pattern)
        self._sentence = sentence

    def _check(self, text: str) -> str:
        if self._pattern.fullmatch(text) is None:
            raise ValueError(self._sentence)
        return text


# What a person reads where a model says no; pydantic's own sentences speak of its types ("items after validation").
SENTENCES = {
    "missing": "is required",
    "string_too_long": "may have at most {max_length} characters",
    "too_long": "may have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_short": "must have at least {min_length} characters",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "string_pattern_mismatch": "is not of the form that is allowed",
}


def _message(item: ErrorDetails) -> str:
    said = item.get("ctx", {})
    is_long_list = item["type"] == "too_long" and said.get("field_type") == "List"
    sentence = "must be a list of at most {max_length}" if is_long_list else SENTENCES.get(item["type"])
    return sentence.format(**said) if sentence else item["msg"].removeprefix("Value error, ")


def refusal(error: ValidationError, *, missing: str = "", unfit: Container[str] = ()) -> KeepsakeError:
    """Turn pydantic's findings into a 400 where something is missing or unreadable, else a 422; no value is repeated.

    `missing` is the row's own sentence for the 400; `unfit` are fields whose every refusal is a 400.
    """
    found = error.errors(include_input=False, include_url=False)
    fields = tuple(FieldError(".".join(str(part) for part in item["loc"])[:100], _message(item)) for item in found)
    if any(item["type"] == "json_invalid" or not item["loc"] for item in found):
        return BadRequest("The body is not a readable JSON object.", "invalid_json")
    if any(item["type"] == "missing" for item in found):
        absent = ", ".join(item.field for item, raw in zip(fields, found, strict=True) if raw["type"] == "missing")
        return BadRequest(missing or f"Missing required fields: {absent}.", "missing_field", errors=fields)
    said = "; ".join(f"{item.field}: {item.message}" for item in fields)
    if first := next((item["loc"][0] for item in found if item["loc"][0] in unfit), None):
        return BadRequest(f"{said}.", f"invalid_{first}", errors=fields)
    return NotAllowedValue(f"{said}.", errors=fields)


def parse_mapping(values: Any, model: type[ModelT], *, missing: str = "") -> ModelT:
    """Validate text fields (a query, a form); an empty value counts as absent."""
    try:
        return model.model_validate({name: value for name, value in values.items() if value != ""})
    except ValidationError as error:
        raise refusal(error, missing=missing) from None


@cache
def _of_empty_query(model: type[ModelT]) -> ModelT | None:
    """Return what an empty query says, None where it must say more."""
    try:
        return model.model_validate({})
    except ValidationError:
        return None


@cache
def _names(model: type[BaseModel]) -> list[str]:
    return sorted(field.alias or name for name, field in model.model_fields.items())


def parse_query(request: web.Request, model: type[ModelT], *, missing: str = "") -> ModelT:
    """Validate the query string; a name the model knows may be given once: two readers could choose differently."""
    query = request.query
    if not query and (defaults := _of_empty_query(model)):
        return cast("ModelT", defaults)
    repeated = tuple(FieldError(name, "may be given once") for name in _names(model) if len(query.getall(name, ())) > 1)
    if repeated:
        raise NotAllowedValue(f"{repeated[0].field}: may be given once.", errors=repeated)
    return parse_mapping(dict(query), model, missing=missing)


async def parse_json(
    request: web.Request, model: type[ModelT], *, missing: str = "", unfit: Container[str] = ()
) -> ModelT:
    """Read JSON into `model`; another content type counts as an empty object, `missing` and `unfit` are `refusal`'s.

    Raises BadRequest, NotAllowedValue or TooLarge.
    """
    body = await read_bytes(request, max_bytes=MAX_JSON_BYTES)
    is_json = request.content_type in JSON_TYPES or request.content_type.endswith("+json")
    try:
        if is_json:
            return model.model_validate_json(body)
        model.model_validate({})
    except ValidationError as error:
        raise refusal(error, missing=missing, unfit=unfit) from None
    raise BadRequest("Send the body as application/json.", "json_required")


def _form_fields(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise BadRequest("The form is not readable.", "invalid_form") from None
    return dict(reversed(pairs))


async def parse_form(request: web.Request, model: type[ModelT], *, missing: str = "") -> ModelT:
    """Read a urlencoded form into `model`; another content type counts as an empty form, of a repeated name the first counts.

    Raises BadRequest, NotAllowedValue or TooLarge.
    """
    body = await read_bytes(request, max_bytes=MAX_JSON_BYTES)
    return parse_mapping(_form_fields(body) if request.content_type == FORM_TYPE else {}, model, missing=missing)


async def parse_json_or_form(request: web.Request, model: type[ModelT], *, missing: str = "") -> ModelT:
    """Read JSON, or a urlencoded form with the same fields, into `model`; raises as `parse_json` does."""
    parse = parse_form if request.content_type == FORM_TYPE else parse_json
    return await parse(request, model, missing=missing)
