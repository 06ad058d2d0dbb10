import { ApiError, ConnectionLost } from "../api/client";

/** A failed request: a kind that the page has a text for, and the message of the server. */
export interface Problem {
  kind: "connection" | "request" | "key" | "scope" | "missing" | "busy" | "unavailable" | "server";
  detail: string;
}

const KINDS: Record<number, Problem["kind"]> = {
  400: "request",
  401: "key",
  403: "scope",
  404: "missing",
  413: "request",
  422: "request",
  429: "busy",
  503: "unavailable",
};

export function problemOf(error: unknown): Problem {
  if (error instanceof ConnectionLost) return { kind: "connection", detail: "" };
  if (error instanceof ApiError) return { kind: KINDS[error.status] ?? "server", detail: error.message };
  return { kind: "server", detail: String(error) };
}
