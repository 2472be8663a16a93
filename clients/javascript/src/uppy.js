import { KeepsakeError } from "./errors.js";

const LONGEST_NAME = 255;

/**
 * Signs the uploads of Uppy's AwsS3: its option `signRequest` since version 6, `getUploadParameters` in version 5.
 * The one asks with a key that ends in the file's name and its `contentType`, the other with the file.
 */
export function keepsakeSigner({ client, orgId }) {
  return async ({ method = "PUT", key, contentType, uploadId, name, type, size }) => {
    if (method !== "PUT" || uploadId) {
      throw new KeepsakeError("Images are sent in one piece: set shouldUseMultipart to false.", { code: "multipart_upload" });
    }
    const file = { name: (name ?? key).slice(-LONGEST_NAME), type: type ?? contentType, size: size ?? undefined };
    const signed = await client.organizations(orgId).presign(file);
    const { url, fields, headers } = signed;
    return { method: signed.method, url, fields, headers, key: signed.s3_key };
  };
}
