"""Objects by key on local disk, S3 or R2: one set of promises."""

from shared.blobs.keys import InvalidKey, ObjectNotFound, content_type_of, require_key, require_prefix
from shared.blobs.opening import open_blob_store
from shared.blobs.store import BlobStore, ObjectExists, ObjectFacts, ObjectReader

__all__ = [
    "BlobStore",
    "InvalidKey",
    "ObjectExists",
    "ObjectFacts",
    "ObjectNotFound",
    "ObjectReader",
    "content_type_of",
    "open_blob_store",
    "require_key",
    "require_prefix",
]
