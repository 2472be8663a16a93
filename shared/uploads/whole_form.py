"""A form that is here whole, with one file in it and nothing else, as browsers write it: found without the parser's steps."""

from __future__ import annotations

import re

from aiohttp import hdrs, web

from shared.http.body import BODY
from shared.uploads.form import FORM_TYPE, FileField, UploadedFile

# Strict: what could be read in two ways is not in it. A file name has no `"`, `%`, `/`, `;`, `[`, `\` or `]`.
ONE_FILE = re.compile(
    rb"--([0-9A-Za-z'()+_,./:=?-]{1,70})\r\n"
    rb'Content-Disposition: form-data; name="([A-Za-z0-9_-]+)"; filename="([ !#$&-.0-:<-Z^-~]{1,255})"\r\n'
    rb"(?:Content-Type: ([a-z0-9.+/-]+)\r\n)?\r\n"
)


def find_whole_file(request: web.Request, file_field: FileField) -> UploadedFile[bytes] | None:
    """Return what `read_form` would find, with its bytes; None, and nothing is read, where `read_form` must read it."""
    body = request[BODY].whole() or b""
    head = ONE_FILE.match(body)
    if head is None or hdrs.CONTENT_ENCODING in request.headers:
        return None
    boundary, name, filename, declared_type = head.groups()
    last_delimiter = b"\r\n--%b--\r\n" % boundary
    start, end = head.end(), len(body) - len(last_delimiter)
    if (
        request.headers.get(hdrs.CONTENT_TYPE) != f"{FORM_TYPE}; boundary={boundary.decode()}"
        or name.decode() != file_field.name
        or not body.endswith(last_delimiter)
        or body.find(last_delimiter[:-4], start) != end
        or end - start > file_field.max_bytes
    ):
        return None
    request[BODY].drop()
    declared = declared_type.decode() if declared_type else None
    return UploadedFile(filename.decode(), declared, size=end - start, sha256="", content=body[start:end])
