/** An image's `placeholder` (a ThumbHash in base64) as a `data:` address for `<img src>`: a small blurred picture. */
export function placeholderDataURL(base64: string): string;
