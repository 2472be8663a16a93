import type { Keepsake, KeepsakeError } from "./index.js";

type TempImage = Awaited<ReturnType<Keepsake["tempImages"]["upload"]>>;
type OrganizationImage = Awaited<ReturnType<ReturnType<Keepsake["organizations"]>["upload"]>>;

export interface TempImageUpload<Result> {
  /** Uploads a file in the place of one that is still on its way. Resolves to null where it failed or was aborted. */
  upload: (file: Blob) => Promise<Result | null>;
  /** From 0 to 1. */
  progress: number;
  status: "idle" | "uploading" | "success" | "error";
  result: Result | null;
  error: KeepsakeError | null;
  abort: () => void;
  /** Back to the start; what is on its way is aborted. */
  reset: () => void;
}

/** An upload as the state of a component: a temporary image, or with `orgId` a file of that organisation's. */
export function useTempImageUpload(options: { client: Keepsake; orgId: string }): TempImageUpload<OrganizationImage>;
export function useTempImageUpload(options: { client: Keepsake; orgId?: undefined }): TempImageUpload<TempImage>;
export function useTempImageUpload(options: {
  client: Keepsake;
  orgId?: string;
}): TempImageUpload<TempImage | OrganizationImage>;
