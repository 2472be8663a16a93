// Uploads a file with Uppy's AwsS3 of the version in the first package, signed by the client; prints Uppy's response.
// Given in the environment: where Uppy and jsdom are installed, the gateway, a token, an organisation, and the file.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const given = JSON.parse(process.env.GIVEN);
const from = (home, name) => import(pathToFileURL(createRequire(join(home, "package.json")).resolve(name)));

const { JSDOM } = await from(given.jsdom, "jsdom");
const { window } = new JSDOM("<!doctype html>", { url: "http://localhost:3000/" });
for (const name of ["document", "XMLHttpRequest", "FormData", "File", "Blob", "ProgressEvent", "location"]) {
  globalThis[name] = window[name];
}
globalThis.window = window;

const { createKeepsake } = await import(pathToFileURL(join(given.sources, "index.js")));
const { keepsakeSigner } = await import(pathToFileURL(join(given.sources, "uppy.js")));
const { default: Uppy } = await from(given.uppy, "@uppy/core");
const { default: AwsS3 } = await from(given.uppy, "@uppy/aws-s3");

const client = createKeepsake({ baseUrl: given.gateway, getToken: () => given.token });
const uppy = new Uppy({ autoProceed: false });
uppy.use(AwsS3, { shouldUseMultipart: false, [given.option]: keepsakeSigner({ client, orgId: given.organization }) });
const data = new window.File([await readFile(given.file)], "cat.jpg", { type: "image/jpeg" });
uppy.addFile({ name: "cat.jpg", type: "image/jpeg", data });
const { successful, failed } = await uppy.upload();
console.log(JSON.stringify(successful[0]?.response ?? { error: String(failed[0]?.error) }));
process.exit(failed.length);
