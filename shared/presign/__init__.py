"""Presigned uploads: SigV4 forms and URLs for a bucket, and the check of such forms for buckets of our own."""

from shared.presign.signing import PresignedUpload, local_bucket, presign_post, presign_put
from shared.presign.verify import PostAnswer, PostPolicyVerifier, S3Error, VerifiedPost, stored_answer

__all__ = [
    "PostAnswer",
    "PostPolicyVerifier",
    "PresignedUpload",
    "S3Error",
    "VerifiedPost",
    "local_bucket",
    "presign_post",
    "presign_put",
    "stored_answer",
]
