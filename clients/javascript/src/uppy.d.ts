import type { Keepsake } from "./index.js";

/** What Uppy 6 asks with, and what Uppy 5 does: a file. */
export interface ToBeSigned {
  method?: string;
  key?: string;
  contentType?: string;
  uploadId?: string;
  name?: string;
  type?: string;
  size?: number | null;
}

export interface Signed {
  method: "POST" | "PUT";
  url: string;
  key: string;
  fields: Record<string, string>;
  headers: Record<string, string>;
}

/** For Uppy's AwsS3: its option `signRequest` since version 6, `getUploadParameters` in version 5. */
export function keepsakeSigner(options: { client: Keepsake; orgId: string }): (asked: ToBeSigned) => Promise<Signed>;
