const SIDE = 32; // pixels; more would not show more of at most 7 × 7 waves
const HEADER = 122; // bytes: a BMP's file header and its BITMAPV4HEADER, the first that knows alpha

const byte = (value) => Math.max(0, Math.min(255, Math.round(value * 255)));

/** Reads the header of a ThumbHash and its waves: luminance, two colour differences, and alpha where there is one. */
function waves(bytes) {
  const head = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16);
  const shape = bytes[3] | (bytes[4] << 8);
  const hasAlpha = head >> 23 === 1;
  const isLandscape = shape >> 15 === 1;
  const longest = hasAlpha ? 5 : 7;
  const count = shape & 7;
  let nibble = hasAlpha ? 12 : 10;

  const channel = (constant, scale, across, down) => {
    const terms = [];
    for (let y = 0; y < down; y++) {
      for (let x = y ? 0 : 1; x * down < across * (down - y); x++) {
        const value = (bytes[nibble >> 1] >> ((nibble & 1) * 4)) & 15;
        terms.push({ x, y, weight: (value / 7.5 - 1) * scale });
        nibble++;
      }
    }
    return { constant, terms };
  };

  const across = Math.max(3, isLandscape ? longest : count);
  const down = Math.max(3, isLandscape ? count : longest);
  const l = channel((head & 63) / 63, ((head >> 18) & 31) / 31, across, down);
  const p = channel(((head >> 6) & 63) / 31.5 - 1, (((shape >> 3) & 63) / 63) * 1.25, 3, 3);
  const q = channel(((head >> 12) & 63) / 31.5 - 1, (((shape >> 9) & 63) / 63) * 1.25, 3, 3);
  const a = hasAlpha ? channel((bytes[5] & 15) / 15, (bytes[5] >> 4) / 15, 5, 5) : { constant: 1, terms: [] };
  const ratio = (isLandscape ? longest : count) / (isLandscape ? count : longest) || 1;
  return { channels: [l, p, q, a], ratio };
}

/** What a channel is at one pixel: the sum of cosines across times cosines down. */
const at = ({ constant, terms }, across, down) =>
  terms.reduce((sum, { x, y, weight }) => sum + weight * Math.cos(across * x) * Math.cos(down * y) * 2, constant);

/** The `placeholder` of an image (a ThumbHash in base64) as the address of a small blurred picture, for `<img src>`. */
export function placeholderDataURL(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const { channels, ratio } = waves(bytes);
  const width = Math.round(Math.min(1, ratio) * SIDE);
  const height = Math.round(SIDE / Math.max(1, ratio));
  const file = new DataView(new ArrayBuffer(HEADER + width * height * 4));
  const words = [
    [2, file.byteLength], [10, HEADER], [14, 108], [18, width], [22, -height], // a negative height: the top row first
    [30, 3], [34, width * height * 4], [54, 0xff0000], [58, 0xff00], [62, 0xff], [66, 0xff000000], [70, 0x73524742],
  ];
  file.setUint16(0, 0x424d);
  for (const [offset, word] of words) file.setInt32(offset, word, true);
  file.setInt32(26, 1 | (32 << 16), true);
  for (let y = 0, offset = HEADER; y < height; y++) {
    for (let x = 0; x < width; x++, offset += 4) {
      const [l, p, q, a] = channels.map((channel) => at(channel, (Math.PI / width) * (x + 0.5), (Math.PI / height) * (y + 0.5)));
      const blue = l - (2 / 3) * p;
      const red = (3 * l - blue + q) / 2;
      [blue, red - q, red, a].forEach((value, index) => file.setUint8(offset + index, byte(value)));
    }
  }
  return `data:image/bmp;base64,${btoa(String.fromCharCode(...new Uint8Array(file.buffer)))}`;
}

/** Shows the `placeholder` of an image's or a photo's answer, if it has one, behind an `<img>` until that has loaded. */
export function showPlaceholder(image, base64) {
  if (!base64) return;
  image.style.background = `center / cover no-repeat url(${placeholderDataURL(base64)})`;
  image.addEventListener("load", () => { image.style.background = ""; }, { once: true }); // it may be transparent
}
