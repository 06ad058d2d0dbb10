/** What the API of `baicai serve` says; docs in the server, names as on the wire. */

export interface LeafInfo {
  name: string;
  hash: string;
  parameters: number;
  resident: boolean;
}

export interface ModelInfo {
  id: string;
  baicai: {
    kind: "model" | "trunk";
    hash: string;
    trunk: string;
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
