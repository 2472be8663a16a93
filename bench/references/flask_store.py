"""The local option of source 000: Flask saves the form's image into a folder and answers its address."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, Response, jsonify, request, send_from_directory
from werkzeug.utils import secure_filename

FOLDER = Path(os.environ["UPLOADS"])
app = Flask(__name__)


@app.get("/health")
def health() -> Response:
    return jsonify(status="healthy")


@app.post("/store-image")
def store_image() -> tuple[Response, int] | Response:
    image = request.files.get("image")
    if image is None:
        return jsonify(error="No image provided"), 400
    FOLDER.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    session, purpose = request.form.get("session_id"), request.form.get("purpose")
    # The note's name has no random part, so that uploads of one second would write over each other.
    name = secure_filename(f"{session}_{purpose}_{moment}_{secrets.token_hex(4)}_{image.filename}")
    image.save(FOLDER / name)
    return jsonify(url=f"{request.host_url}media/{name}", success=True)


@app.get("/media/<name>")
def media(name: str) -> Response:
    return send_from_directory(FOLDER, name)
