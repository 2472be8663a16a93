"""`make bench`: Keepsake against what people would use instead, and against the limits of the machine."""
