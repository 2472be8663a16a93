"""Where temporary images are kept: on the machine's disk, or in Redis."""
