"""The local option of source 000 in Flask, with what `keep` promises."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from bench.references.keep import keep, prepare

app = Flask(__name__)
prepare()


@app.get("/health")
def health() -> Response:
    return jsonify(status="healthy")


@app.post("/store-image")
def store_image() -> tuple[Response, int] | Response:
    image = request.files.get("image")
    if image is None:
        return jsonify(error="No image provided"), 400
    try:
        return jsonify(keep(image.read(), request.form.get("session_id", "")))
    except OSError as error:
        return jsonify(error=str(error)), 400
