import { events } from "./events";
import type { ApiErrorBody, ChatRequest, Chunk, Holding, ModelInfo, Release, Run, RunInfo } from "./types";

/** The server rejected the request. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The connection failed or broke. */
export class ConnectionLost extends Error {}

const KEY = "baicai.key";
let askForKey: () => Promise<string | null> = async () => null;

/** Set the prompt that asks the user for an API key. */
export function onKeyRequired(ask: () => Promise<string | null>): void {
  askForKey = ask;
}

/** Ask for a key to replace the stored one; returns false if none was entered. */
export async function changeKey(): Promise<boolean> {
  const given = await askForKey();
  if (given !== null) localStorage.setItem(KEY, given);
  return given !== null;
}

export async function listModels(): Promise<ModelInfo[]> {
  return (await get<{ data: ModelInfo[] }>("v1/models")).data;
}

export async function listRuns(): Promise<RunInfo[]> {
  return (await get<{ data: RunInfo[] }>("v1/runs")).data;
}

/** Fetch a run with its metrics after a step. */
export function showRun(id: string, after: number): Promise<Run> {
  return get(`v1/runs/${id.split("/").map(encodeURIComponent).join("/")}?after=${after}`);
}

/** Fetch the address of the catalogue (null without one) and the releases that may contain a slice. */
export function listReleases(slice: string): Promise<{ catalog: string | null; data: Release[] }> {
  return get(`v1/catalog?slice=${encodeURIComponent(slice)}`);
}

export async function listHoldings(release: string): Promise<Holding[]> {
  return (await get<{ holdings: Holding[] }>(`v1/catalog/${encodeURIComponent(release)}`)).holdings;
}

/**
 * Stream the chunks of a chat completion.
 *
 * Throws ApiError, ConnectionLost, or the DOMException of an abort.
 */
export async function* streamChat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<Chunk> {
  const body = JSON.stringify({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
    routing: true,
    logprobs: true,
    top_logprobs: 5,
  });
  const headers = { "Content-Type": "application/json" };
  const response = await call("v1/chat/completions", { method: "POST", headers, body, signal });
  let finished = false;
  for await (const data of events(response, throwConnectionLost)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new ApiError(500, chunk.error.message);
    finished ||= Boolean(chunk.choices[0]?.finish_reason);
    yield chunk;
  }
  if (!finished) throw new ConnectionLost();
}

async function get<Answer>(path: string): Promise<Answer> {
  const response = await call(path, {});
  return (await response.json().catch(throwConnectionLost)) as Answer;
}

async function call(path: string, options: RequestInit): Promise<Response> {
  for (;;) {
    const key = localStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const response = await fetch(new URL(path, document.baseURI), { ...options, headers }).catch(throwConnectionLost);
    if (response.ok) return response;
    const given = response.status === 401 ? await askForKey() : null;
    if (given === null) throw await toApiError(response);
    localStorage.setItem(KEY, given);
  }
}

async function toApiError(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as { error?: ApiErrorBody };
  return new ApiError(response.status, body.error?.message ?? `HTTP ${response.status}`);
}

function throwConnectionLost(error: unknown): never {
  throw error instanceof DOMException && error.name === "AbortError" ? error : new ConnectionLost();
}
