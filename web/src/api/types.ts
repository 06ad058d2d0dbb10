/** Types of the API of `baicai serve`, with the names used on the wire; the server documents them. */

/** Bits per byte, by domain and by model; null where it is undefined. */
export type Quality = Record<string, Record<string, number | null>>;

/** A data set that a trunk or a leaf was trained on. */
export interface DataInfo {
  domain: string;
  manifest: string;
  tokens: number;
  bytes: number;
  /** Number of documents by licence. */
  licences: Record<string, number>;
  /** Hash of the release that it was pulled from; `slice` says which part. */
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

/** The active leaves; all if absent. */
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

/** Each leaf's share, 0 to 1, of the weight that leaves can get; the rest is the trunk's. */
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
  /** Last logged values. */
  last: Record<string, number>;
}

/** Logged metrics, one column each; `step` is one of them. */
export type Metrics = Record<string, (number | null)[]>;

/** Mean weight of each leaf per token, indexed by domain, layer and leaf. */
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

/** Number of documents by name. */
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
