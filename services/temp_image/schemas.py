"""What goes over the wire, beside the images themselves."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, ConfigDict, Field

from shared.http.validation import QueryModel, WireModel


class RetrieveQuery(QueryModel):
    """Which image to retrieve."""

    image_id: str = Field(alias="imageId", description="What the upload answered", json_schema_extra={"minLength": 1})


class Uploaded(WireModel):
    """What an upload answers."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    image_id: str = Field(alias="imageId", pattern="^[0-9a-f]{32}$")
    expires_at: datetime = Field(alias="expiresAt")


class HoldRequest(WireModel):
    """Until when a holder wants the image kept."""

    until: AwareDatetime = Field(strict=False)


class Held(WireModel):
    """What a holder holds; `size` is in bytes."""

    content_type: str
    size: int
