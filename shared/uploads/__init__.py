"""Multipart uploads: a form's text fields, and its files in memory or spooled to disk."""

from shared.uploads.form import FileField, Form, UploadedFile, read_form
from shared.uploads.sinks import FileSink, MemorySink, SpoolSink, clear_stale_spool
from shared.uploads.whole_form import find_whole_file

__all__ = [
    "FileField",
    "FileSink",
    "Form",
    "MemorySink",
    "SpoolSink",
    "UploadedFile",
    "clear_stale_spool",
    "find_whole_file",
    "read_form",
]
