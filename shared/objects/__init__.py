"""Objects by key on local disk, S3 or R2: one set of promises."""

from shared.objects.object_keys import InvalidKey, ObjectNotFound, content_type_of, require_key, require_prefix
from shared.objects.protocol import BlobStore, ObjectExists, ObjectFacts, ObjectReader

__all__ = [
    "BlobStore",
    "InvalidKey",
    "ObjectExists",
    "ObjectFacts",
    "ObjectNotFound",
    "ObjectReader",
    "content_type_of",
    "require_key",
    "require_prefix",
]
