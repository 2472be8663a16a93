"""Settings: the parts that processes compose theirs of, and how they are read at a start."""

from shared.settings.parts import (
    LOOPBACK_HOSTS,
    Bucket,
    DatabaseSettings,
    DatabaseUrl,
    Network,
    Networks,
    OnOff,
    Port,
    RedisSettings,
    ServerSettings,
    SettingsPart,
    StorageSettings,
    TokenSettings,
    Words,
    missing,
    per_service,
)
from shared.settings.reading import explain, load_settings, read_settings, refuse_start

__all__ = [
    "LOOPBACK_HOSTS",
    "Bucket",
    "DatabaseSettings",
    "DatabaseUrl",
    "Network",
    "Networks",
    "OnOff",
    "Port",
    "RedisSettings",
    "ServerSettings",
    "SettingsPart",
    "StorageSettings",
    "TokenSettings",
    "Words",
    "explain",
    "load_settings",
    "missing",
    "per_service",
    "read_settings",
    "refuse_start",
]
