/** An image's `placeholder` (a ThumbHash in base64) as a `data:` address for `<img src>`: a small blurred picture. */
export function placeholderDataURL(base64: string): string;
/** Shows the `placeholder` of an image's or a photo's answer, if it has one, behind an `<img>` until that has loaded. */
export function showPlaceholder(image: HTMLImageElement, base64: string | null | undefined): void;
