"""Presigned uploads: SigV4 forms and URLs for a bucket, and the check of such forms for buckets of our own."""
