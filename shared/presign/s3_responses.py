"""What a stored upload by form is answered: a redirect, a description, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from shared.presign.s3_errors import xml_document
from shared.presign.verify import VerifiedPost
from shared.settings import Bucket


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
    return PostAnswer(201, {**headers, "Content-Type": "application/xml"}, xml_document("PostResponse", parts))
