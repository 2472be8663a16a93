// The local option of source 000 in Express: sharp decodes the image whole, file and folder are synced, and one row is kept.
"use strict";
const { randomBytes } = require("node:crypto");
const { mkdirSync } = require("node:fs");
const { open } = require("node:fs/promises");
const { createRequire } = require("node:module");
const { DatabaseSync } = require("node:sqlite");

const [port, modules, folder] = process.argv.slice(2);
const load = createRequire(`${modules}/`);
const express = load("express");
const multer = load("multer");
const sharp = load("sharp");

mkdirSync(folder, { recursive: true });
const database = new DatabaseSync(`${folder}.db`);
database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
database.exec("CREATE TABLE images (key TEXT PRIMARY KEY, session TEXT, size INT, made REAL)");
const insert = database.prepare("INSERT INTO images VALUES (?, ?, ?, ?)");

async function written(path, data) {
  const file = await open(path, data ? "wx" : "r");
  try {
    if (data) await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}

const form = multer({ storage: multer.memoryStorage(), limits: { fileSize: 10 * 1024 * 1024 } });
const app = express();

app.get("/health", (_req, res) => res.json({ status: "healthy" }));

app.post("/store-image", form.single("image"), async (req, res) => {
  if (!req.file) return res.status(400).json({ error: "No image provided" });
  const { info } = await sharp(req.file.buffer).raw().toBuffer({ resolveWithObject: true });
  const key = `${randomBytes(16).toString("hex")}.jpg`;
  await written(`${folder}/${key}`, req.file.buffer);
  await written(folder);
  insert.run(key, req.body.session_id ?? "", req.file.size, Date.now() / 1000);
  res.json({ success: true, key, width: info.width, height: info.height });
});

app.listen(Number(port), "127.0.0.1");
