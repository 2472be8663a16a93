"""The library every Keepsake service stands on; it imports no service and not the gateway."""

VERSION = "1.1.0"
