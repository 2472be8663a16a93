"""Objects by key on local disk, S3 or R2: one set of promises."""

from shared.objects.object_keys import InvalidKey, ObjectNotFound, content_type_of, require_key, require_prefix
from shared.objects.protocol import ObjectExists, ObjectFacts, ObjectReader, ObjectStore

__all__ = [
    "InvalidKey",
    "ObjectExists",
    "ObjectFacts",
    "ObjectNotFound",
    "ObjectReader",
    "ObjectStore",
    "content_type_of",
    "require_key",
    "require_prefix",
]
