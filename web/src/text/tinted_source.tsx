import type { ComponentChildren, VNode } from "preact";
import { leafOf, type Piece } from "../state/message";
import { colours } from "../state/models";

/** The pieces of a text, and the offset at which each starts. */
export interface LocatedPieces {
  pieces: Piece[];
  starts: number[];
}

export function locatePieces(pieces: Piece[]): LocatedPieces {
  let at = 0;
  const starts = pieces.map((piece) => (at += piece.text.length) - piece.text.length);
  return { pieces, starts };
}

/**
 * Maps the text of rendered Markdown back to its source, to tint it by leaf.
 *
 * A Markdown parser removes markup but keeps the order of the text, so each run of text is searched for in the source
 * after the previous one, which yields the pieces it came from. A run that is not found is shown without tint.
 */
export class TintedSource {
  depth = 0;

  constructor(
    private readonly source: string,
    private at: number,
    private readonly end: number,
    private readonly located: LocatedPieces | null,
  ) {}

  /** Render an element, then continue after `raw`, its source. */
  within(raw: string, act: () => ComponentChildren): ComponentChildren {
    const from = this.at;
    this.depth++;
    const drawn = act();
    this.depth--;
    const index = this.find(raw, from);
    if (index >= 0) this.at = Math.max(this.at, index + raw.length);
    return drawn;
  }

  write(text: string): ComponentChildren {
    if (!this.located) return text;
    const index = this.find(text, this.at);
    if (index >= 0) return this.tinted(this.located, index, index + text.length);
    const lines = text.split(/(?<=\n)/);
    return lines.length > 1 ? lines.map((line) => this.write(line)) : text;
  }

  private find(text: string, from: number): number {
    const index = this.source.indexOf(text, from);
    return index >= 0 && index + text.length <= this.end ? index : -1;
  }

  private tinted({ pieces, starts }: LocatedPieces, from: number, to: number): VNode[] {
    this.at = to;
    const drawn: VNode[] = [];
    for (let index = lastAtMost(starts, from); index < pieces.length; index++) {
      const piece = pieces[index] as Piece;
      const start = starts[index] as number;
      if (start >= to) break;
      const text = this.source.slice(Math.max(from, start), Math.min(to, start + piece.text.length));
      if (text) drawn.push(word(piece, index, text));
    }
    return drawn;
  }
}

/** Tints a word without the surrounding spaces, so that words stay apart. */
function word(piece: Piece, index: number, text: string): VNode {
  const leaf = leafOf(piece);
  const [, before, bare, after] = /^(\s*)(.*?)(\s*)$/s.exec(text) as unknown as [string, string, string, string];
  if (!leaf || !bare) {
    return (
      <span class="word" data-word={index}>
        {text}
      </span>
    );
  }
  const [name, weight] = leaf;
  const style = {
    "--leaf": colours.value.get(name) ?? "var(--faint)",
    "--share": `${Math.round(12 + 38 * Math.min(1, weight))}%`,
  };
  return (
    <>
      {before}
      <span class="word tinted" data-word={index} style={style}>
        {bare}
      </span>
      {after}
    </>
  );
}

function lastAtMost(starts: number[], value: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((starts[middle] as number) <= value) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
