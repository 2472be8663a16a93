/** Decoders give up above this on phones: iOS has no canvas of more pixels. */
const CANVAS_PIXELS = 16_777_216;
const QUALITIES = [0.92, 0.85, 0.75, 0.65];
const TRIES = 6;
const SEQUENCES = ["avis", "msf1", "hevc", "hevx"]; // brands of AVIF and HEIC that move
const EXTENSIONS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" };

const text = (view, offset, length) =>
  Array.from({ length }, (_, index) => String.fromCharCode(view.getUint8(offset + index))).join("");

/** The orientation (1 to 8) in a TIFF header at `start`; 1 where it is not there. */
function orientationAt(view, start) {
  const little = view.getUint16(start) === 0x4949;
  const entries = start + view.getUint32(start + 4, little);
  for (let index = 0; index < view.getUint16(entries, little); index++) {
    const entry = entries + 2 + index * 12;
    if (view.getUint16(entry, little) !== 0x0112) continue;
    const isLong = view.getUint16(entry + 2, little) === 4;
    return isLong ? view.getUint32(entry + 8, little) : view.getUint16(entry + 8, little);
  }
  return 1;
}

function lookAtJpeg(view) {
  for (let offset = 2; view.getUint8(offset) === 0xff; ) {
    const marker = view.getUint8(offset + 1);
    if (marker === 0xff) {
      offset++;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) break;
    if (marker === 0xe1 && text(view, offset + 4, 6) === "Exif\0\0") return { orientation: orientationAt(view, offset + 10) };
    offset += 2 + view.getUint16(offset + 2);
  }
  return {};
}

function lookAtPng(view) {
  const found = {};
  for (let offset = 8; offset + 8 <= view.byteLength; offset += 12 + view.getUint32(offset)) {
    const kind = text(view, offset + 4, 4);
    if (kind === "acTL") found.isAnimated = true;
    if (kind === "eXIf") found.orientation = orientationAt(view, offset + 8);
  }
  return found;
}

function lookAtWebp(view) {
  const found = {};
  for (let offset = 12; offset + 8 <= view.byteLength; ) {
    const kind = text(view, offset, 4);
    const length = view.getUint32(offset + 4, true);
    if (kind === "ANIM") found.isAnimated = true;
    if (kind === "EXIF") found.orientation = orientationAt(view, offset + 8 + (text(view, offset + 8, 4) === "Exif" ? 6 : 0));
    offset += 8 + length + (length & 1);
  }
  return found;
}

/** Type, orientation and whether it moves, by the bytes; what cannot be followed to its end is taken as it is. */
async function look(file) {
  const view = new DataView(await file.arrayBuffer());
  const known = { type: file.type, orientation: 1, isAnimated: false };
  try {
    if (view.getUint16(0) === 0xffd8) return { ...known, ...lookAtJpeg(view), type: "image/jpeg" };
    if (text(view, 1, 3) === "PNG") return { ...known, ...lookAtPng(view), type: "image/png" };
    if (text(view, 8, 4) === "WEBP") return { ...known, ...lookAtWebp(view), type: "image/webp" };
    if (text(view, 0, 3) === "GIF") return { ...known, type: "image/gif", isAnimated: true };
    if (text(view, 4, 4) === "ftyp") {
      const brand = text(view, 8, 4);
      return { ...known, type: brand.startsWith("avi") ? "image/avif" : "image/heic", isAnimated: SEQUENCES.includes(brand) };
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return known;
}

/** How to draw what lies in one of the ways 2 to 8 upright on a canvas of `w` by `h`. */
const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (_, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w) => [0, 1, -1, 0, w, 0],
  7: (w, h) => [0, -1, -1, 0, w, h],
  8: (_, h) => [0, -1, 1, 0, 0, h],
};

/**
 * The pixels, and how they have yet to be turned: browsers turn a JPEG and a PNG by themselves, but not a WebP.
 * What `createImageBitmap` cannot decode an `<img>` may: Safari shows HEIC there.
 */
async function decode(file, { type, orientation }) {
  const turn = type === "image/webp" ? TURNS[orientation] : undefined;
  try {
    const picture = await createImageBitmap(file, { imageOrientation: turn ? "none" : "from-image" });
    const sides = [picture.width, picture.height];
    return { picture, turn, sides: turn && orientation >= 5 ? sides.reverse() : sides };
  } catch (error) {
    if (typeof Image === "undefined") throw error;
    const picture = new Image();
    picture.src = URL.createObjectURL(file);
    try {
      await picture.decode();
      return { picture, sides: [picture.naturalWidth, picture.naturalHeight] };
    } finally {
      URL.revokeObjectURL(picture.src);
    }
  }
}

/** The picture on a canvas of that size; on white where the new type knows no transparency. */
function draw({ picture, turn, sides }, scale, type) {
  const [width, height] = sides.map((side) => Math.max(1, Math.round(side * scale)));
  const canvas =
    typeof OffscreenCanvas === "undefined"
      ? Object.assign(document.createElement("canvas"), { width, height })
      : new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  if (type === "image/jpeg") {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
  }
  context.imageSmoothingQuality = "high";
  const matrix = turn?.(width, height) ?? [1, 0, 0, 1, 0, 0];
  context.setTransform(...matrix);
  context.drawImage(picture, 0, 0, ...(matrix[0] ? [width, height] : [height, width]));
  return canvas;
}

const encode = (canvas, type, quality) =>
  canvas.convertToBlob?.({ type, quality }) ?? new Promise((resolve) => canvas.toBlob(resolve, type, quality));

/** Encodes within `maxBytes`: at lower quality first, where the type has any, then with fewer pixels. */
async function shrink(decoded, scale, type, maxBytes) {
  const qualities = type === "image/png" ? [undefined] : QUALITIES;
  for (let tries = 0, blob; tries < TRIES; tries++) {
    const canvas = draw(decoded, scale, type);
    for (const quality of qualities) {
      blob = await encode(canvas, type, quality);
      if (!blob || blob.size <= maxBytes) return blob;
    }
    scale *= Math.min(0.9, Math.sqrt(maxBytes / blob.size) * 0.95);
  }
  return null;
}

/**
 * Makes an image upright, no larger than `maxBytes` and `maxSide`, and of `type`, where it is not so already.
 * What needs no change, moves, or cannot be decoded here is returned as it came: the server says what is wrong with it.
 */
export async function prepareImage(file, { maxBytes = Infinity, maxSide = Infinity, type } = {}) {
  if (typeof createImageBitmap === "undefined") return file;
  const found = await look(file);
  const wanted = type ?? (found.type === "image/heic" ? "image/jpeg" : found.type);
  if (found.isAnimated) return file;
  const needsNothing = found.type === wanted && found.orientation === 1 && file.size <= maxBytes;
  if (needsNothing && maxSide === Infinity) return file;

  const decoded = await decode(file, found).catch(() => null);
  if (!decoded) return file;
  try {
    const [width, height] = decoded.sides;
    const fitting = Math.min(1, maxSide / Math.max(width, height));
    if (needsNothing && fitting === 1) return file;
    const target = EXTENSIONS[wanted] ? wanted : "image/jpeg"; // a canvas gives no other
    const blob = await shrink(decoded, Math.min(fitting, Math.sqrt(CANVAS_PIXELS / (width * height))), target, maxBytes);
    if (!blob) return file;
    const stem = (file.name ?? "photo").replace(/\.[^.]*$/, "");
    return new File([blob], `${stem}.${EXTENSIONS[blob.type]}`, { type: blob.type, lastModified: file.lastModified });
  } finally {
    decoded.picture.close?.();
  }
}
