"""media-store: images kept for good, on disk, in S3 or in R2."""
