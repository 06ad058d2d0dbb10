import { ApiError, ConnectionLost } from "../api/client";

/** Why there is no answer: a kind that the page has words for, and what the server said. */
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
