"""Temporary images as files in one folder, which all processes of a machine share."""

from services.temp_image.adapters.disk.store import DiskImageStore, open_disk_store

__all__ = ["DiskImageStore", "open_disk_store"]
