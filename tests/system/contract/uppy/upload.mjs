// Uploads one file with one of Uppy's own uploaders, in the browser that jsdom is: its XMLHttpRequest asks for CORS.
// Arguments: `xhr` and the address, or `s3` and the presigned upload as JSON; then the file. Prints Uppy's response.

import { readFile } from "node:fs/promises";
import { JSDOM } from "jsdom";

const [kind, target, path] = process.argv.slice(2);
const page = new JSDOM("<!doctype html>", { url: "http://localhost:3000/" });
const { window } = page;
for (const name of ["document", "XMLHttpRequest", "FormData", "File", "Blob", "ProgressEvent", "location"]) {
  globalThis[name] = window[name];
}
globalThis.window = window;

const { default: Uppy } = await import("@uppy/core");
const uppy = new Uppy({ autoProceed: false });

if (kind === "xhr") {
  const { default: XHRUpload } = await import("@uppy/xhr-upload");
  uppy.use(XHRUpload, { endpoint: target, fieldName: "image", allowedMetaFields: ["purpose", "session_id", "effect"] });
  uppy.setMeta({ purpose: "processed_comic", session_id: "uppy", effect: "comic" });
} else {
  const { default: AwsS3 } = await import("@uppy/aws-s3");
  // What the endpoint answers is what Uppy takes: url, fields, headers and method.
  uppy.use(AwsS3, { shouldUseMultipart: false, getUploadParameters: () => JSON.parse(target) });
}

const data = new window.File([await readFile(path)], "cat.jpg", { type: "image/jpeg" });
uppy.addFile({ name: "cat.jpg", type: "image/jpeg", data });
const { successful, failed } = await uppy.upload();
console.log(JSON.stringify(successful[0]?.response ?? { error: String(failed[0]?.error) }));
window.close();
process.exit(failed.length);
