/** What the API of `baicai serve` says; docs in the server, names as on the wire. */

/** Bits per byte by domain and by what was measured on it; null where that makes no sense. */
export type Quality = Record<string, Record<string, number | null>>;

/** A text that a trunk or a leaf was made from. */
export interface DataInfo {
  domain: string;
  manifest: string;
  tokens: number;
  bytes: number;
  /** Documents of each licence. */
  licences: Record<string, number>;
  /** Hash of the release that it was pulled from, and which part of it. */
  release?: string;
  slice?: string;
}

export interface LeafInfo {
  name: string;
  hash: string;
  parameters: number;
  resident: boolean;
  signed: boolean;
  data: DataInfo[];
  bits_per_byte: Quality;
}

export interface ModelInfo {
  id: string;
  baicai: {
    kind: "model" | "trunk";
    hash: string;
    trunk: string;
    data: DataInfo[];
    leaves: LeafInfo[];
    topk_group: number;
    max_tokens: number;
    total_parameters: number;
    active_parameters: number;
    flops_per_token: number;
  };
}

/** Which leaves may answer; absent means all. */
export type LeafChoice = { only: string[] } | { off: string[] };

export interface Turn {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ChatRequest {
  model: string;
  messages: Turn[];
  leaves?: LeafChoice;
  temperature?: number;
  top_p?: number;
  max_completion_tokens?: number;
  seed?: number;
}

/** Each leaf's share, 0 to 1, of the weight that leaves can get; what is missing to 1 is the trunk. */
export type Weights = Record<string, number>;

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  baicai?: {
    active_parameters: number;
    total_parameters: number;
    flops: number;
    dense_flops: number;
    leaves: Weights;
  };
}

export interface TokenProbability {
  token: string;
  logprob: number;
}

export interface Chunk {
  choices: {
    delta?: { content?: string | null };
    finish_reason?: string | null;
    routing?: { token: string; leaves: Weights }[] | null;
    logprobs?: { content?: (TokenProbability & { top_logprobs?: TokenProbability[] })[] | null } | null;
  }[];
  usage?: Usage | null;
  error?: ApiErrorBody;
}

export interface ApiErrorBody {
  message: string;
  type?: string;
  param?: string | null;
  code?: string | null;
}

export interface RunInfo {
  id: string;
  stage: string;
  state: "running" | "done" | "stopped";
  /** Seconds since 1970; so is `updated`. */
  created: number;
  updated: number;
  steps: number | null;
  /** What was logged last. */
  last: Record<string, number>;
}

/** What was logged, a column for each name; `step` is one of them. */
export type Metrics = Record<string, (number | null)[]>;

/** The mean weight that each leaf gets from a token, by domain, then layer, then leaf. */
export interface Routing {
  leaves: string[];
  layers: number[];
  share: Record<string, number[][]>;
}

export interface Run extends RunInfo {
  recipe: unknown;
  commit: string | null;
  versions: Record<string, string> | null;
  metrics: Metrics;
  bits_per_byte: Quality;
  routing: Routing | null;
  summary: Record<string, number | null> | null;
}

/** Documents by name. */
export type Counts = Record<string, number>;

export interface Release {
  name: string;
  version: number;
  hash: string;
  key: string;
  created: string;
  expires: string;
  size_bytes: number;
  taken_down: number;
  location: string;
  documents: number;
  domain: Counts;
  language: Counts;
  licence: Counts;
}

export interface Holding {
  domain: string;
  language: string;
  licence: string;
  licence_class: string;
  documents: number;
  min_quality: number;
  max_quality: number;
}
