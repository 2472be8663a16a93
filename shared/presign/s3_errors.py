"""Refusals in S3's words and XML."""

from __future__ import annotations

from xml.sax.saxutils import escape


class S3Error(Exception):
    """A refusal as S3 words it: a status, a code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def to_xml(self, request_id: str) -> bytes:
        """Return the body of type `application/xml`."""
        parts = {"Code": self.code, "Message": self.message, "RequestId": request_id}
        return xml_document("Error", parts)


def xml_document(root: str, parts: dict[str, str]) -> bytes:
    """Write an element with one text element for each part, as S3 does."""
    inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in parts.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inside}</{root}>'.encode()
