"""The wire types of media-store."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from services.media_store.model.images import (
    MAX_CAPTION,
    MAX_FILENAME,
    MAX_PURPOSE,
    MAX_SESSION_ID,
    ImageType,
    Kind,
    StoredImage,
)
from services.media_store.model.names import MAX_USERNAME
from shared.http.validation import MaxChars, PlainText, QueryModel, WireModel, left_out_where_none
from shared.names import NOT_CARRIED

Cursor = Annotated[
    PlainText, Field(description="`next_cursor` of the page before", json_schema_extra={"pattern": "^[A-Za-z0-9_-]*$"})
]
Width = Literal["160", "320", "640", "960", "1280", "1920"]


class HowMade(WireModel):
    """How what is stored was made of what was sent, and what to show while it loads."""

    placeholder: str | None = left_out_where_none("A ThumbHash in base64")
    rewritten: Literal[True] | None = left_out_where_none(
        "Its pixels were encoded anew: they could not be cut from its metadata"
    )
    converted_from: Literal["heic", "avif"] | None = left_out_where_none(
        "The format it was sent in, where it has become a JPEG"
    )


class StoreForm(QueryModel):
    """What comes with an image of a session."""

    # What is refused with another status than 422 is described here and refused by the model.
    purpose: str = Field(
        "original",
        description="`original` or `processed_<effect>`",
        json_schema_extra={"maxLength": MAX_PURPOSE, "pattern": "^(original|processed_.+)$"},
    )
    session_id: Annotated[str, MaxChars(MAX_SESSION_ID)] = ""
    effect: Annotated[str, MaxChars(MAX_PURPOSE)] = ""


class Stored(HowMade):
    """A session's image, kept."""

    url: str
    success: Literal[True] = True
    key: str
    session_id: str
    width: int
    height: int
    size: int
    content_type: str


class UserImageForm(QueryModel):
    """What comes with a user's image."""

    username: str = Field(
        json_schema_extra={
            "maxLength": MAX_USERNAME,
            "pattern": rf"^[^.{NOT_CARRIED}]+(?:\.[^.{NOT_CARRIED}]+)*\.?$",
        }
    )
    image_type: str = Field(description=f"One of {', '.join(ImageType)}", json_schema_extra={"enum": list(ImageType)})
    is_primary: str = Field("false", description="`true` in any case of letters; anything else is false")
    caption: Annotated[str, MaxChars(MAX_CAPTION)] = ""


class UserImage(HowMade):
    """A user's image."""

    id: str
    url: str
    image_type: str
    is_primary: bool
    caption: str
    uploaded_at: datetime
    width: int
    height: int
    size_bytes: int
    mime_type: str

    @classmethod
    def of(cls, image: StoredImage, url: str) -> UserImage:
        return cls(
            id=image.id,
            url=url,
            image_type=image.image_type or "",
            is_primary=image.is_primary,
            caption=image.caption,
            uploaded_at=image.uploaded_at,
            width=image.width,
            height=image.height,
            size_bytes=image.size,
            mime_type=image.content_type,
            **image.how_made,
        )


class KeptImage(UserImage):
    """An image of any kind, as admins see it; where it is no user's, `image_type` is empty and `username` is null."""

    key: str
    kind: Kind
    username: str | None

    @classmethod
    def of_any(cls, image: StoredImage, url: str) -> KeptImage:
        own = UserImage.of(image, url).model_dump()
        return cls(**own, key=image.key, kind=image.kind, username=image.username)


class AdminListQuery(QueryModel):
    """Which of all images."""

    username: Annotated[PlainText, Field(max_length=255)] = ""
    kind: Kind | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Cursor | None = None


class KeptImages(WireModel):
    """Images of all kinds, newest first."""

    success: Literal[True] = True
    images: list[KeptImage]
    count: int
    next_cursor: str | None


class Uploaded(WireModel):
    """A user's image, kept."""

    success: Literal[True] = True
    message: str = "Image uploaded successfully"
    image: UserImage


class ListQuery(QueryModel):
    """Which of a user's images; without a limit all."""

    limit: Annotated[int | None, Field(ge=1, le=100)] = None
    cursor: Cursor | None = None
    image_type: ImageType | None = None


class UserImages(WireModel):
    """A user's images, newest first."""

    success: Literal[True] = True
    images: list[UserImage]
    count: int
    next_cursor: str | None = None


class Done(WireModel):
    """A change was made."""

    success: Literal[True] = True
    message: str


class WidthQuery(QueryModel):
    """How wide a rendition may be; without it the original."""

    w: Width | None = None


class UploadRequest(WireModel):
    """A file that an organisation's member is going to upload."""

    content_type: str = Field(json_schema_extra={"enum": ["image/jpeg", "image/png", "image/webp"]})
    filename: str = Field(description="Folders in it are dropped", json_schema_extra={"maxLength": MAX_FILENAME})
    size: int | None = Field(None, description="In bytes")
    method: Literal["POST", "PUT"] = "POST"


class PresignedUpload(WireModel):
    """Where to send the file, and with what: `fields` before it in a form, `headers` with the request."""

    url: str
    fields: dict[str, str]
    s3_key: str
    public_url: str
    method: Literal["POST", "PUT"]
    headers: dict[str, str]
    expires_at: datetime


class PromoteRequest(WireModel):
    """A temporary upload to be kept."""

    s3_key: PlainText
    purpose: Literal["events"]


class Promoted(HowMade):
    """A temporary upload, kept."""

    url: str
    key: str
    width: int
    height: int
    size: int
    content_type: str


class StorageStatus(WireModel):
    """Which object store is in use, and whether it answers."""

    success: Literal[True] = True
    backend: Literal["local", "s3", "r2"]
    bucket: str | None
    endpoint: str | None
    public_domain: str | None
    reachable: bool
    answered_in_ms: float


class ProbeStep(WireModel):
    """One step of a probe."""

    step: Literal["write", "read", "compare", "delete"]
    success: bool
    duration_ms: float


class Probe(WireModel):
    """What came of writing, reading back, comparing and deleting an object."""

    success: bool
    backend: Literal["local", "s3", "r2"]
    steps: list[ProbeStep]
