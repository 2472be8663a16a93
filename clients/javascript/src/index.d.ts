import type * as wire from "./openapi.js";

export type OrderStatus = wire.Status;

/** What every call takes. */
export interface CallOptions {
  /** Ends the call; it rejects with the signal's reason (an `AbortError` by default). */
  signal?: AbortSignal;
}

export interface Progress {
  /** Bytes that went out; both count the form around the file as well. */
  loaded: number;
  total: number;
}

/** What every upload takes. An upload is tried again where the connection broke: five times, over about twelve seconds. */
export interface UploadOptions extends CallOptions {
  onProgress?: (progress: Progress) => void;
  /** The same key and content are one upload, however often it is sent. Made for each upload where none is given. */
  idempotencyKey?: string;
}

export interface PageOptions extends CallOptions {
  limit?: number;
  /** The `next_cursor` of the page before. */
  cursor?: string;
}

/** A refusal, or a connection that broke for good. Its message is `detail`. */
export class KeepsakeError extends Error {
  constructor(
    detail: string,
    more: { code: string; status?: number; requestId?: string | null; retryAfter?: number | null; cause?: unknown },
  );
  name: "KeepsakeError";
  /** What it is, for programs: stable snake_case. `connection_failed` where no answer came. */
  code: string;
  /** The HTTP status; 0 where no answer came. */
  status: number;
  /** One sentence that can be shown to people. */
  detail: string;
  /** What the server's log calls the request. */
  requestId: string | null;
  /** Seconds until another try can succeed, where the server said so. */
  retryAfter: number | null;
  /** Which fields were wrong, where it was fields. */
  errors: { field: string; message: string }[];
}

export interface PrepareOptions {
  maxBytes?: number;
  /** The most pixels of the longer side. */
  maxSide?: number;
  type?: "image/jpeg" | "image/png" | "image/webp";
}

/**
 * Makes an image upright, no larger than `maxBytes` and `maxSide`, and of `type`, where it is not so already; it is
 * never enlarged. What needs no change, moves, or cannot be decoded by this browser (HEIC, in most) is returned
 * untouched. In Node everything is.
 */
export function prepareImage(file: File, options?: PrepareOptions): Promise<File>;
export function prepareImage(file: Blob, options?: PrepareOptions): Promise<Blob>;

/** Where tokens are kept: `sessionStorage`, `localStorage`, or the like. */
export interface TokenStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

export interface KeepsakeOptions {
  /** Where the gateway is, such as `https://images.example.com`. Without it: where the page is. */
  baseUrl?: string;
  /**
   * Gives the access token of your own sign-in, or null. Where the server refused one it is asked once more, with the
   * token that was `refused`. With it, `auth.login` is not for you.
   */
  getToken?: (why?: { refused: string }) => string | null | undefined | Promise<string | null | undefined>;
  /** Keeps people signed in over a reload. Without it, tokens live as long as the page. */
  storage?: TokenStorage;
  /**
   * Keeps the access token in `storage` as well, so that the next page needs no new one: for shops of several pages,
   * since refreshes, sign-ins and registrations together are limited for one address. Without it, it is in memory alone.
   */
  storeAccessToken?: boolean;
}

export interface TempImages {
  /** Keeps a photo (5 MiB at most) for an hour, or until it is retrieved. */
  upload(file: Blob, options?: UploadOptions): Promise<wire.PostApiTempImageUploadResponse>;
  /** The very bytes, once. Asked again at the same time, or within ten seconds, it is the same answer: React asks twice. */
  retrieve(imageId: string, options?: CallOptions): Promise<Blob>;
}

export interface StoreOptions extends UploadOptions {
  /** `original` (without it), or `processed_` and the effect. */
  purpose?: string;
  sessionId?: string;
  effect?: string;
}

export interface UserImageOptions extends UploadOptions {
  username: string;
  imageType: "profile" | "gallery" | "cover";
  isPrimary?: boolean;
  caption?: string;
}

export interface UserImages {
  upload(file: Blob, options: UserImageOptions): Promise<wire.PostApiUploadUserImageResponse>;
  list(
    username: string,
    options?: PageOptions & { imageType?: "profile" | "gallery" | "cover" },
  ): Promise<wire.GetApiUserImagesByUsernameResponse>;
  remove(id: string, options?: CallOptions): Promise<wire.DeleteApiUserImageByIdDeleteResponse>;
  setPrimary(id: string, options?: CallOptions): Promise<wire.PutApiUserImageByIdSetPrimaryResponse>;
}

export type Presigned = wire.PostApiV1OrganizationsByOrgIdTempImageUploadResponse;
export type Role = "owner" | "admin" | "member";

export interface Organization {
  /** Signs an upload, and sends nothing. */
  presign(file: { name: string; type: string; size?: number }, options?: CallOptions): Promise<Presigned>;
  /** Signs, and sends the file to where the images lie. `publicUrl` (`public_url`) is its address. */
  upload(file: Blob, options?: Omit<UploadOptions, "idempotencyKey">): Promise<Presigned & { publicUrl: string }>;
  /** Keeps an upload for good, checked; takes what `upload` gave, or its `s3_key`. */
  promote(
    uploaded: string | { s3_key: string },
    options?: CallOptions & { purpose?: "events" },
  ): Promise<wire.PostApiV1OrganizationsByOrgIdImagesPromoteResponse>;
  get(options?: CallOptions): Promise<wire.GetApiV1OrganizationsByOrgIdResponse>;
  members(options?: CallOptions): Promise<wire.GetApiV1OrganizationsByOrgIdMembersResponse>;
  addMember(
    member: { role: Role } & ({ userId: string } | { username: string }),
    options?: CallOptions,
  ): Promise<wire.PostApiV1OrganizationsByOrgIdMembersResponse>;
  changeMember(
    userId: string,
    role: Role,
    options?: CallOptions,
  ): Promise<wire.PatchApiV1OrganizationsByOrgIdMembersByUserIdResponse>;
  removeMember(userId: string, options?: CallOptions): Promise<void>;
}

export interface Organizations {
  /** The calls of one organisation. */
  (id: string): Organization;
  create(name: string, options?: CallOptions): Promise<wire.PostApiV1OrganizationsResponse>;
  list(options?: CallOptions): Promise<wire.GetApiV1OrganizationsResponse>;
}

export interface OrderFields {
  petName?: string;
  petType?: string;
  notes?: string;
}

/** What happened to an order: it has another status, or one of its photos was looked at, asked for again or replaced. */
export type OrderEvent =
  | { type: "status"; id: string; order_id: string; status: OrderStatus; at: string; note: string | null }
  | {
      type: "photo";
      id: string;
      order_id: string;
      filename: string;
      what: "checked" | "requested" | "replaced";
      at: string;
    };

export interface EventOptions extends CallOptions {
  /** Only what came after this event. */
  lastEventId?: string;
  /** Told when the stream stands, and when it broke; it is opened again by itself. */
  onConnection?: (state: "open" | "lost") => void;
}

export interface Orders {
  /** Places an order of one to four photos. */
  create(
    files: Iterable<Blob>,
    fields?: OrderFields & UploadOptions,
    options?: UploadOptions,
  ): Promise<wire.PostApiImagesUploadResponse>;
  list(options?: PageOptions & { status?: OrderStatus }): Promise<wire.GetApiImagesOrdersResponse>;
  get(id: string, options?: CallOptions): Promise<wire.GetApiImagesOrdersByOrderIdResponse>;
  remove(id: string, options?: CallOptions): Promise<wire.DeleteApiImagesOrdersByOrderIdResponse>;
  /** Puts another photo in the place of `filename`, while the order is not paid or the shop has asked for one. */
  replacePhoto(
    id: string,
    filename: string,
    file: Blob,
    options?: UploadOptions,
  ): Promise<wire.PutApiImagesOrdersByOrderIdFilesByFilenameResponse>;
  photo(id: string, filename: string, options?: CallOptions & { size?: "thumb" }): Promise<Blob>;
  /** All photos of an order as a ZIP. */
  photos(id: string, options?: CallOptions): Promise<Blob>;
  /** The order's state, then each change. Ends when `signal` is aborted, and is opened again wherever it breaks. */
  events(id: string, options?: EventOptions): AsyncGenerator<OrderEvent, void, void>;
}

export interface CheckoutItem extends CallOptions {
  /** A temporary image, which is then held until the payment is made or the session ends. */
  imageId?: string | null;
  /** A photo order; alone, and with its owner's token. */
  orderId?: string;
  sku?: string;
  quantity?: number;
  currency?: string;
  idempotencyKey?: string;
}

export interface Checkout {
  /** Opens a session; `client_secret` is for Stripe's embedded form, `pay_url` the sandbox's page (null with Stripe). */
  open(item?: CheckoutItem): Promise<wire.PostApiCheckoutEmbeddedSessionResponse>;
  status(sessionId: string, options?: CallOptions): Promise<wire.GetApiCheckoutSessionStatusResponse>;
  /** The image that was bought, again and again for 24 hours. */
  image(sessionId: string, options?: CallOptions): Promise<Blob>;
}

export interface Auth {
  register(
    user: { username: string; email: string; password: string },
    options?: CallOptions,
  ): Promise<wire.PostApiAuthRegisterResponse>;
  /** Signs in; from here on every call carries the token, and it is renewed by itself. */
  login(
    who: { password: string } & ({ username: string } | { email: string }),
    options?: CallOptions,
  ): Promise<wire.PostApiAuthLoginResponse>;
  logout(): Promise<void>;
  me(options?: CallOptions): Promise<wire.GetApiAuthMeResponse>;
  /** An access token that is good now; null for nobody. */
  token(): Promise<string | null | undefined>;
  readonly signedIn: boolean;
  /** Calls `listener` whenever somebody signs in or out, or the session ends; returns what takes it off again. */
  onChange(listener: (signedIn: boolean) => void): () => boolean;
}

export interface RequestOptions extends CallOptions {
  query?: Record<string, string | number | boolean | null | undefined>;
  json?: unknown;
  form?: FormData;
  headers?: Record<string, string>;
  onProgress?: (progress: Progress) => void;
  idempotencyKey?: string;
  /** What becomes of the answer. */
  read?: "json" | "text" | "blob" | "response";
  /** Sends no token. */
  anonymous?: boolean;
  /** How often it is tried again where the connection broke: five times for GET and with a key, else never. */
  retries?: number;
}

export interface Keepsake {
  tempImages: TempImages;
  images: { store(file: Blob, options?: StoreOptions): Promise<wire.PostStoreImageResponse> };
  userImages: UserImages;
  organizations: Organizations;
  orders: Orders;
  checkout: Checkout;
  auth: Auth;
  /** Any path of the API, with the token, the retries and the errors of all other calls. */
  request<Answer = unknown>(method: string, path: string, options?: RequestOptions): Promise<Answer>;
}

export function createKeepsake(options?: KeepsakeOptions): Keepsake;
