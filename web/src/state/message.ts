import type { Chunk, LeafChoice, Usage, Weights } from "../api/types";
import type { Problem } from "./problem";

/** A piece of an answer, usually one token, with its leaf weights and alternatives. */
export interface Piece {
  text: string;
  leaves?: Weights;
  alternatives?: [token: string, probability: number][];
}

/** `cut`: stopped at the token limit; `lost`: the connection broke. */
export type Progress = "writing" | "done" | "cut" | "stopped" | "lost" | "failed";

/** An answer, possibly still incomplete. */
export interface Draft {
  text: string;
  pieces: Piece[];
  progress: Progress;
  problem?: Problem;
  usage?: Usage;
}

export interface Message extends Draft {
  id: string;
  talk: string;
  parent: string | null;
  order: number;
  role: "user" | "assistant";
  model?: string;
  leaves?: LeafChoice;
}

/** Minimum share of the weight for a token to be attributed to a leaf; the same value as in leaves/generation.py. */
export const MIN_LEAF_WEIGHT = 0.2;

/** Return the leaf with the largest weight and that weight, or null if no leaf reaches the minimum. */
export function leafOf(piece: Piece): [name: string, weight: number] | null {
  let best: [string, number] | null = null;
  for (const entry of Object.entries(piece.leaves ?? {})) {
    if (entry[1] >= MIN_LEAF_WEIGHT && (!best || entry[1] > best[1])) best = entry;
  }
  return best;
}

/** Split a chunk into one piece per token if the tokens spell its text, else return it as one piece. */
export function piecesOf(choice: Chunk["choices"][number]): Piece[] {
  const text = choice.delta?.content ?? "";
  const routing = choice.routing ?? [];
  const chances = choice.logprobs?.content ?? [];
  if (!text) return [];
  const tokens = routing.length ? routing : chances;
  if (tokens.map(({ token }) => token).join("") !== text) return [{ text: clean(text), leaves: mean(routing) }];
  return tokens.map(({ token }, index) => {
    const piece: Piece = { text: clean(token) };
    const weights = routing[index]?.leaves;
    const top = tokens.length === chances.length ? chances[index]?.top_logprobs : undefined;
    if (weights) piece.leaves = weights;
    if (top) piece.alternatives = top.map(({ token, logprob }) => [token, Math.exp(logprob)]);
    return piece;
  });
}

function clean(text: string): string {
  return text.replaceAll("\r", "");
}

function mean(routing: { leaves: Weights }[]): Weights {
  const sums: Weights = {};
  for (const { leaves } of routing) {
    for (const [name, weight] of Object.entries(leaves)) {
      sums[name] = (sums[name] ?? 0) + weight / routing.length;
    }
  }
  return sums;
}
