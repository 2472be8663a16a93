"""Settings: the parts that processes compose theirs of, and how they are read at a start."""

from shared.settings.addresses import DatabaseUrl, Domain, Url, Urls, Words
from shared.settings.parts import (
    LOOPBACK_HOSTS,
    DatabaseSettings,
    ImageSettings,
    Network,
    Networks,
    OnOff,
    Port,
    RedisSettings,
    ServerSettings,
    SettingsPart,
    TokenSettings,
    missing,
    per_service,
)
from shared.settings.reading import explain, load_settings, read_settings, refuse_start
from shared.settings.storage import Bucket, StorageSettings

__all__ = [
    "LOOPBACK_HOSTS",
    "Bucket",
    "DatabaseSettings",
    "DatabaseUrl",
    "Domain",
    "ImageSettings",
    "Network",
    "Networks",
    "OnOff",
    "Port",
    "RedisSettings",
    "ServerSettings",
    "SettingsPart",
    "StorageSettings",
    "TokenSettings",
    "Url",
    "Urls",
    "Words",
    "explain",
    "load_settings",
    "missing",
    "per_service",
    "read_settings",
    "refuse_start",
]
