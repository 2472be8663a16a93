"""OpenAPI 3.1 made from a service's URL table and its wire types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.app.routes import Answer, FormBody, Route, ServiceInfo
from shared.auth.access import Access

References = Mapping[Any, dict[str, Any]]  # a model's schema: a `$ref`

REF = "#/components/schemas/{model}"
PATH_PARAMETER = re.compile(r"{([a-z_]+)(?::[^{}]+(?:{[^{}]*}[^{}]*)*)?}")
# What the gateway passes on in one segment of a path: dots are fine, but not one alone, nor two in a row.
PLAIN = r"[^\x00-\x1f\x7f./\\;%]+"
SEGMENT = rf"^\.?{PLAIN}(\.{PLAIN})*\.?$"
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "error", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
ALWAYS_POSSIBLE = (400, 404, 405, 408, 413, 415, 417, 429, 431, 502, 503, 504)


def _models(routes: Iterable[Route]) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {}
    for route in routes:
        body = route.body.fields if isinstance(route.body, FormBody) else route.body
        for model in (route.query, body, *(answer.model for answer in route.answers.values())):
            if model is not None:
                found[model] = None
    return list(found)


def _refusal(status: int, other_types: Iterable[str]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}}
    content |= {kind: {"schema": {"type": "string"}} for kind in other_types}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _answer(answer: Answer, references: References) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.model is not None:
        described["content"] = {answer.content_type: {"schema": references[answer.model]}}
    elif answer.content_type == "text/event-stream":
        described["content"] = {answer.content_type: {}}  # a schema would be each event's, not the stream's
    elif answer.content_type != "application/json":
        described["content"] = {answer.content_type: {"schema": {"type": "string", "format": "binary"}}}
    return described


def _form_schema(form: FormBody, schemas: dict[str, Any], references: References) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if form.fields is not None:
        name = references[form.fields]["$ref"].rsplit("/", 1)[1]
        fields = schemas[name]
    properties = dict(fields.get("properties", {}))
    part = {"type": "string", "format": "binary"}
    for name, most in form.files.items():
        properties[name] = part if most == 1 else {"type": "array", "items": part, "minItems": 1, "maxItems": most}
    return {"type": "object", "properties": properties, "required": [*fields.get("required", ()), *form.files]}


def _body(route: Route, schemas: dict[str, Any], references: References) -> dict[str, Any]:
    if isinstance(route.body, FormBody):
        return {
            "required": True,
            "content": {"multipart/form-data": {"schema": _form_schema(route.body, schemas, references)}},
        }
    reference = references[route.body] if route.body is not None else {}
    content = {"application/json": {"schema": reference}}
    if route.form_too:
        content["application/x-www-form-urlencoded"] = {"schema": reference}
    return {"required": True, "content": content}


def _parameters(route: Route, schemas: dict[str, Any], references: References) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": SEGMENT}}
        for name in PATH_PARAMETER.findall(route.path)
    ]
    if route.query is not None:
        schema = schemas[references[route.query]["$ref"].rsplit("/", 1)[1]]
        required = schema.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": part}
            for name, part in schema.get("properties", {}).items()
        ]
    return parameters


def _operation(route: Route, tag: str, schemas: dict[str, Any], references: References) -> dict[str, Any]:
    statuses = {*ALWAYS_POSSIBLE, *route.refusals}
    if route.access is not Access.PUBLIC:
        statuses |= {401, 403}
    if route.body is not None or route.query is not None:
        statuses.add(422)
    answers = route.answers or {200: Answer("Done")}
    operation: dict[str, Any] = {
        "tags": [tag],
        "summary": route.summary,
        "responses": {str(status): _refusal(status, route.refusal_types) for status in sorted(statuses - set(answers))}
        | {str(status): _answer(answer, references) for status, answer in answers.items()},
    }
    if route.access is not Access.PUBLIC:
        operation["security"] = [{"bearer": []}, *([{"signature": [], "expires": []}] if route.by_link else [])]
    if parameters := _parameters(route, schemas, references):
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _body(route, schemas, references)
    return operation


def public_path(path: str) -> str:
    """Write an aiohttp pattern as an OpenAPI path: `{key:.+}` is `{key}`."""
    return PATH_PARAMETER.sub(r"{\1}", path)


def document(title: str, description: str, version: str, server_url: str) -> dict[str, Any]:
    """Return a document without paths, with what every operation refers to."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": version},
        "servers": [{"url": server_url}],
        "paths": {},
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                # The two halves of a signed link.
                **{name: {"type": "apiKey", "in": "query", "name": name} for name in ("signature", "expires")},
            },
        },
    }


def describe(info: ServiceInfo, routes: Iterable[Route], server_url: str) -> dict[str, Any]:
    """Return the OpenAPI document of one service's public routes."""
    public = [route for route in routes if not route.path.startswith("/internal/")]
    whole = document(info.title or info.name, info.description, info.version, server_url)
    generated, definitions = models_json_schema([(model, "validation") for model in _models(public)], ref_template=REF)
    references = {model: schema for (model, _mode), schema in generated.items()}
    schemas = definitions.get("$defs", {})
    for route in public:
        operations = whole["paths"].setdefault(public_path(route.path), {})
        operations[route.method.lower()] = _operation(route, info.name, schemas, references)
    whole["components"]["schemas"] |= schemas
    return whole
