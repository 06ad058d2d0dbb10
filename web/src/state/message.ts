import type { Chunk, LeafChoice, Usage, Weights } from "../api/types";
import type { Problem } from "./problem";

/** Some text of an answer, as a rule one token, with who gave it and what else it might have been. */
export interface Piece {
  text: string;
  leaves?: Weights;
  alternatives?: [token: string, probability: number][];
}

/** `cut` is an answer at its token limit; `lost` one whose connection broke. */
export type Progress = "writing" | "done" | "cut" | "stopped" | "lost" | "failed";

/** An answer as far as it goes. */
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

/** A leaf is named for a token if it got this share of the weight; RECOGNISED of leaves/answer.py. */
export const RECOGNISED = 0.2;

/** Return the leaf that spoke most and its weight, or null if the trunk was left to itself. */
export function leafOf(piece: Piece): [name: string, weight: number] | null {
  let best: [string, number] | null = null;
  for (const entry of Object.entries(piece.leaves ?? {})) {
    if (entry[1] >= RECOGNISED && (!best || entry[1] > best[1])) best = entry;
  }
  return best;
}

/** Return the pieces of a chunk: one for each token where its tokens are its text, else one for all of it. */
export function piecesOf(choice: Chunk["choices"][number]): Piece[] {
  const text = choice.delta?.content ?? "";
  const routing = choice.routing ?? [];
  const chances = choice.logprobs?.content ?? [];
  if (!text) return [];
  const tokens = routing.length ? routing : chances;
  if (tokens.map(({ token }) => token).join("") !== text) return [{ text: clean(text), leaves: mean(routing) }];
  return tokens.map(({ token }, place) => {
    const piece: Piece = { text: clean(token) };
    const weights = routing[place]?.leaves;
    const top = tokens.length === chances.length ? chances[place]?.top_logprobs : undefined;
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
