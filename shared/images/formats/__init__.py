"""One module for each image format: its header, and what can be cut from its container."""
