"""What each call does, from the request to the answer, and the URL table."""

from __future__ import annotations

from services.media_store import schemas
from services.media_store.handlers.admin import list_images, show_status, try_storage
from services.media_store.handlers.images import (
    delete_user_image,
    list_user_images,
    set_primary,
    store_image,
    upload_user_image,
)
from services.media_store.handlers.organizations import promote, receive_upload, sign_upload
from services.media_store.handlers.serving import delete_object, serve_object, serve_user_image
from shared.app.erasure import ERASURE_ROUTE
from shared.app.routes import Answer, FormBody, Route
from shared.auth.access import Access

_IMAGE = "/api/user_image/{id}"
_ORGANIZATION = "/api/v1/organizations/{org_id}"
_SHOWN = {
    200: Answer("The image, or a rendition of it", content_type="image/*"),
    206: Answer("The part asked for", content_type="image/*"),
    304: Answer("The client has it already", content_type=""),
}

ROUTES = (
    ERASURE_ROUTE,
    Route(
        method="POST",
        path="/store-image",
        handler=store_image,
        summary="Keep an image of a shop's session, under an address that anybody may fetch",
        body=FormBody(fields=schemas.StoreForm, files={"image": 1}),
        answers={200: Answer("Kept", schemas.Stored)},
        refusals=(401,),
    ),
    Route(
        method="POST",
        path="/api/upload_user_image",
        handler=upload_user_image,
        summary="Keep an image of a user",
        access=Access.TOKEN,
        body=FormBody(fields=schemas.UserImageForm, files={"image": 1}),
        answers={200: Answer("Kept", schemas.Uploaded)},
    ),
    Route(
        method="GET",
        path="/api/user_images/{username}",
        handler=list_user_images,
        summary="List a user's images, newest first",
        query=schemas.ListQuery,
        answers={200: Answer("The images", schemas.UserImages)},
        refusals=(401, 403),
    ),
    *(
        Route(
            method=method,
            path=f"{_IMAGE}/delete",
            handler=delete_user_image,
            summary="Delete a user's image",
            access=Access.TOKEN,
            answers={200: Answer("Deleted", schemas.Done)},
        )
        for method in ("DELETE", "POST")
    ),
    *(
        Route(
            method=method,
            path=f"{_IMAGE}/set_primary",
            handler=set_primary,
            summary="Make an image its user's primary one",
            access=Access.TOKEN,
            answers={200: Answer("It is the primary one now", schemas.Done)},
        )
        for method in ("POST", "PUT")
    ),
    Route(
        method="GET",
        path=f"{_IMAGE}/serve",
        handler=serve_user_image,
        summary="A user's image, or a rendition of it",
        query=schemas.WidthQuery,
        answers=_SHOWN,
        refusals=(401, 403, 412, 416),
    ),
    Route(
        method="GET",
        path="/media/{key:.+}",
        handler=serve_object,
        summary="A public object, or a rendition of it",
        query=schemas.WidthQuery,
        answers={**_SHOWN, 307: Answer("It was promoted", content_type="")},
        refusals=(401, 403, 412, 416),
    ),
    Route(
        method="DELETE",
        path="/media/{key:.+}",
        handler=delete_object,
        summary="Delete a public object",
        access=Access.ADMIN,
        answers={200: Answer("Deleted", schemas.Done)},
    ),
    Route(
        method="POST",
        path="/media",
        handler=receive_upload,
        summary="Take a presigned form as S3 does",
        body=FormBody(files={"file": 1}),
        answers={204: Answer("Kept", content_type="")},
        refusals=(403,),
        refusal_types=("application/xml",),
    ),
    Route(
        method="GET",
        path="/api/admin/images",
        handler=list_images,
        summary="Look through all images, newest first",
        access=Access.ADMIN,
        query=schemas.AdminListQuery,
        answers={200: Answer("The images", schemas.KeptImages)},
    ),
    Route(
        method="GET",
        path="/api/debug/r2-status",
        handler=show_status,
        summary="Which object store is in use, and whether it answers",
        access=Access.ADMIN,
        answers={200: Answer("The store", schemas.StorageStatus)},
    ),
    Route(
        method="POST",
        path="/api/test-r2-storage",
        handler=try_storage,
        summary="Write, read back, compare and delete an object",
        access=Access.ADMIN,
        answers={200: Answer("What came of it", schemas.Probe)},
    ),
    Route(
        method="POST",
        path=f"{_ORGANIZATION}/temp-image-upload",
        handler=sign_upload,
        summary="Sign an upload straight to the bucket",
        access=Access.TOKEN,
        body=schemas.UploadRequest,
        answers={200: Answer("Signed", schemas.PresignedUpload)},
    ),
    Route(
        method="POST",
        path=f"{_ORGANIZATION}/images/promote",
        handler=promote,
        summary="Check a temporary upload, and keep it for good",
        access=Access.TOKEN,
        body=schemas.PromoteRequest,
        answers={200: Answer("Kept", schemas.Promoted)},
    ),
)
