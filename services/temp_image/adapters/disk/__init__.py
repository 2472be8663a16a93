"""Temporary images as files in one folder, which all processes of a machine share."""

from services.temp_image.adapters.disk.store import DiskImageStore, open_disk_store
from services.temp_image.adapters.disk.upload_keys import DiskUploadKeys

__all__ = ["DiskImageStore", "DiskUploadKeys", "open_disk_store"]
