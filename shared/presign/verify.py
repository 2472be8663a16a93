"""The check of a signed form that S3 would make, and its answer, for buckets of our own.

It follows "Browser-Based Uploads Using POST" of the S3 manual; what is refused gets S3's status, code and wording, so that
one browser code works against all.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from shared.presign.signing import ALGORITHM, sign
from shared.settings import Bucket

UNSIGNED_FIELDS = ("policy", "x-amz-signature", "file")
# `${filename}` is put in everywhere but here: these two are what is signed, and the signature.
LITERAL_FIELDS = ("policy", "x-amz-signature")


class S3Error(Exception):
    """A refusal as S3 words it: a status, a code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def to_xml(self, request_id: str) -> bytes:
        parts = {"Code": self.code, "Message": self.message, "RequestId": request_id}
        return _xml("Error", parts)


@dataclass(frozen=True)
class VerifiedPost:
    """A form whose signature and policy hold, except for the size that is not known before the file's last byte."""

    key: str
    content_type: str
    min_bytes: int
    max_bytes: int | None
    success_status: int
    success_redirect: str

    def require_size(self, size: int) -> None:
        """Raise S3Error where the file has fewer or more bytes than the policy allows."""
        if size < self.min_bytes:
            text = "Your proposed upload is smaller than the minimum allowed object size."
            raise S3Error(400, "EntityTooSmall", text)
        if self.max_bytes is not None and size > self.max_bytes:
            raise S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")


class PostPolicyVerifier:
    """Checks forms for one bucket as S3 would, with the key that `presign_post` signs them with."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def verify(self, form: Iterable[tuple[str, str]], *, filename: str, now: datetime) -> VerifiedPost:
        """Check the text fields of a form whose file has this name. Raises S3Error.

        Field names are compared without regard to case; a name given twice is refused.
        """
        fields = _expanded(form, filename)
        if not fields.get("key"):
            raise S3Error(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        self._require_signature(fields)
        conditions = _conditions(_policy(fields["policy"]), now)
        values = {"bucket": self._bucket.name, **fields}
        if values["bucket"] != self._bucket.name:
            raise _failed("eq", "$bucket", self._bucket.name)
        least, most = 0, None
        covered = set(UNSIGNED_FIELDS)
        for operator, name, value in conditions:
            if operator == "content-length-range":
                least, most = max(least, name), value if most is None else min(most, value)
                continue
            _require_match(operator, name, value, values)
            covered.add(name[1:].lower())
        extra = [name for name in values if name not in covered and not name.startswith("x-ignore-")]
        if extra:
            names = ", ".join(re.sub(r"[^A-Za-z0-9._-]", "?", name)[:64] for name in extra[:10])
            raise _denied(f"Extra input fields: {names}")
        status = fields.get("success_action_status", "")
        return VerifiedPost(
            fields["key"],
            fields.get("content-type", "binary/octet-stream"),
            least,
            most,
            int(status) if status in {"200", "201"} else 204,
            fields.get("success_action_redirect", ""),
        )

    def _require_signature(self, fields: dict[str, str]) -> None:
        required = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
        if not any(fields.get(name) for name in required):
            raise S3Error(403, "AccessDenied", "Access Denied")
        for name in required:
            if not fields.get(name):
                raise S3Error(400, "InvalidArgument", f"Bucket POST must contain a field named '{name}'.")
        access_key, _, scope = fields["x-amz-credential"].partition("/")
        date = fields["x-amz-date"]
        if (
            fields["x-amz-algorithm"] != ALGORITHM
            or not _is_stamp(date)
            or scope != f"{date[:8]}/{self._bucket.region}/s3/aws4_request"
        ):
            raise S3Error(400, "InvalidArgument", "The algorithm, date or credential scope of the form is not valid.")
        if access_key != self._bucket.access_key:
            text = "The AWS Access Key Id you provided does not exist in our records."
            raise S3Error(403, "InvalidAccessKeyId", text)
        expected = sign(self._bucket.secret_key, scope, fields["policy"])
        if not hmac.compare_digest(expected.encode(), fields["x-amz-signature"].encode(errors="replace")):
            text = "The request signature we calculated does not match the signature you provided."
            raise S3Error(403, "SignatureDoesNotMatch", text)


def _is_stamp(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", text) is not None


def _expanded(form: Iterable[tuple[str, str]], filename: str) -> dict[str, str]:
    """Put the file's name, without the folders some browsers send, in the place of `${filename}`."""
    name_only = re.split(r"[/\\]", filename)[-1]
    fields: dict[str, str] = {}
    for written, value in form:
        name = written.lower()
        if name in fields:
            raise S3Error(400, "InvalidArgument", "A field of the form was given twice.")
        fields[name] = value if name in LITERAL_FIELDS else value.replace("${filename}", name_only)
    return fields


def _policy(encoded: str) -> dict[str, Any]:
    try:
        policy = json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, RecursionError) as error:
        raise _invalid_policy() from error
    if not isinstance(policy, dict):
        raise _invalid_policy()
    return policy


def _conditions(policy: dict[str, Any], now: datetime) -> list[tuple[str, Any, Any]]:
    """Return the conditions as (operator, name or minimum, value or maximum)."""
    expiration, conditions = policy.get("expiration"), policy.get("conditions")
    if not isinstance(expiration, str) or not isinstance(conditions, list):
        raise _invalid_policy()
    try:
        expires_at = datetime.fromisoformat(expiration)
    except ValueError as error:
        raise _invalid_policy() from error
    if expires_at.tzinfo is None:
        raise _invalid_policy()
    if now >= expires_at:
        raise _denied("Policy expired.")
    return [parsed for condition in conditions for parsed in _parsed(condition)]


def _parsed(condition: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(condition, dict) and condition:
        return [_matching("eq", f"${name}", value) for name, value in condition.items()]
    if not isinstance(condition, list) or len(condition) != 3:
        raise _invalid_policy()
    operator, name, value = condition
    if operator != "content-length-range":
        return [_matching(operator, name, value)]
    try:
        least, most = int(name), int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _failed(operator, name, value) from error
    if not 0 <= least <= most:
        raise _invalid_policy()
    return [(operator, least, most)]


def _matching(operator: Any, name: Any, value: Any) -> tuple[str, str, str]:
    if operator not in ("eq", "starts-with") or not isinstance(name, str) or not isinstance(value, str):
        raise _invalid_policy()
    if not re.match(r"\$.", name):
        raise _invalid_policy()
    return operator, name, value


def _require_match(operator: str, name: str, value: str, values: dict[str, str]) -> None:
    actual = values.get(name[1:].lower())
    if actual is None:
        raise _failed(operator, name, value)
    if operator == "eq":
        matches = actual == value
    else:
        # Of a list of types each one has to begin so.
        listed = actual.split(",") if name.lower() == "$content-type" else [actual]
        matches = all(item.startswith(value) for item in listed)
    if not matches:
        raise _failed(operator, name, value)


def _denied(reason: str) -> S3Error:
    return S3Error(403, "AccessDenied", f"Invalid according to Policy: {reason}")


def _failed(operator: str, name: object, value: object) -> S3Error:
    # Words of the policy, which we signed: nothing that the form's sender chose.
    return _denied(f"Policy Condition failed: {json.dumps([operator, name, value])}")


def _invalid_policy() -> S3Error:
    text = "The content of the form does not meet the conditions specified in the policy document."
    return S3Error(400, "InvalidPolicyDocument", text)


@dataclass(frozen=True)
class PostAnswer:
    """The answer to an upload that was stored."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


def stored_answer(form: VerifiedPost, bucket: Bucket, etag: str) -> PostAnswer:
    """Answer as the form asks: a redirect, 201 with a description, or 200 or 204 with nothing. `etag` is unquoted."""
    location = bucket.url + quote(form.key, safe="/~")
    headers = {"ETag": f'"{etag}"', "Location": location}
    if re.match(r"https?://[\x21-\x7e]+\Z", form.success_redirect):
        joint = "&" if "?" in form.success_redirect else "?"
        query = urlencode({"bucket": bucket.name, "key": form.key, "etag": f'"{etag}"'}, safe="/", quote_via=quote)
        return PostAnswer(303, {**headers, "Location": f"{form.success_redirect}{joint}{query}"})
    if form.success_status != 201:
        return PostAnswer(form.success_status, headers)
    parts = {"Location": location, "Bucket": bucket.name, "Key": form.key, "ETag": f'"{etag}"'}
    return PostAnswer(201, {**headers, "Content-Type": "application/xml"}, _xml("PostResponse", parts))


def _xml(root: str, parts: dict[str, str]) -> bytes:
    """Write an element with one text element for each part, as S3 does."""
    inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in parts.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inside}</{root}>'.encode()
