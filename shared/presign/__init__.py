"""Presigned uploads: SigV4 forms and URLs for a bucket, and the check of such forms for buckets of our own."""

from shared.presign.s3_errors import S3Error
from shared.presign.s3_responses import PostAnswer, stored_answer
from shared.presign.signing import PresignedUpload, local_bucket, presign_post, presign_put
from shared.presign.verify import PostPolicyVerifier, VerifiedPost

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
