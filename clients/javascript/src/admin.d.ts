import type { CallOptions, Keepsake, OrderStatus, PageOptions } from "./index.js";
import type * as wire from "./openapi.js";

export interface OrdersQuery extends PageOptions {
  status?: OrderStatus;
  userId?: string;
  /** RFC 3339; both ends of the time belong to it. */
  since?: string;
  until?: string;
  /** A part of it, in any case. */
  petName?: string;
  photoRequests?: "open";
  quality?: "warned";
}

export type Summary = wire.SummaryAnswer;
export type PhotoRequest = wire.PhotoRequestBody;
export type Delivery = wire.DeliveryEntry;
export type Payment = wire.PaymentEntry;
export type KeptImage = wire.KeptImage;
export type User = wire.ManagedUser;

export interface Admin {
  orders: {
    list(query?: OrdersQuery): Promise<wire.GetApiAdminOrdersResponse>;
    csv(query?: Omit<OrdersQuery, "limit" | "cursor">): Promise<Blob>;
    summary(options?: CallOptions): Promise<Summary>;
    /** Makes one of the legal moves; any other is 409. */
    move(
      id: string,
      status: OrderStatus,
      options?: CallOptions & { note?: string },
    ): Promise<wire.PatchApiAdminOrdersByOrderIdResponse>;
    /** Asks the customer for a better photo. */
    requestPhoto(
      id: string,
      request: PhotoRequest,
      options?: CallOptions,
    ): Promise<wire.PostApiAdminOrdersByOrderIdPhotoRequestsResponse>;
    withdrawRequest(
      id: string,
      filename: string,
      options?: CallOptions,
    ): Promise<wire.DeleteApiAdminOrdersByOrderIdPhotoRequestsByFilenameResponse>;
  };
  deliveries: {
    list(query?: PageOptions & { state?: Delivery["state"] }): Promise<wire.GetApiAdminDeliveriesResponse>;
    /** Sends it again; 409 where ORDER_WEBHOOK_URL is not set. */
    resend(id: string, options?: CallOptions): Promise<wire.PostApiAdminDeliveriesByIdResendResponse>;
  };
  payments: {
    list(query?: PageOptions & { state?: Payment["state"] }): Promise<wire.GetApiAdminPaymentsResponse>;
    /** Decides about one that `needs_review`. */
    resolve(
      sessionId: string,
      action: "fulfil" | "refund",
      note: string,
      options?: CallOptions,
    ): Promise<wire.PostApiAdminPaymentsBySessionIdResolveResponse>;
    /** Gives back `amount` minor units, or all that is left. */
    refund(
      what: { sessionId?: string; orderId?: string; amount?: number; reason?: string },
      options?: CallOptions,
    ): Promise<wire.PostApiCheckoutRefundsResponse>;
  };
  images: {
    list(query?: PageOptions & { username?: string; kind?: KeptImage["kind"] }): Promise<wire.GetApiAdminImagesResponse>;
    /** Takes one down, bytes and row. */
    remove(image: Pick<KeptImage, "id" | "key" | "kind">, options?: CallOptions): Promise<unknown>;
  };
  users: {
    /** `query` is a part of the user name or the email. */
    list(query?: PageOptions & { query?: string }): Promise<wire.GetApiAdminUsersResponse>;
    /** Disabling ends every session; the last admin stays (409). */
    change(id: string, change: wire.UserChange, options?: CallOptions): Promise<wire.PatchApiAdminUsersByUserIdResponse>;
  };
  storage: {
    status(options?: CallOptions): Promise<wire.GetApiDebugR2StatusResponse>;
    probe(options?: CallOptions): Promise<wire.PostApiTestR2StorageResponse>;
  };
}

/** The calls of the role `admin`, for a client that is signed in with it. */
export function createAdmin(client: Keepsake): Admin;
