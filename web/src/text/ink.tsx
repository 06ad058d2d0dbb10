import type { ComponentChildren, VNode } from "preact";
import { leafOf, type Piece } from "../state/message";
import { colours } from "../state/models";

/** The pieces of a text, and where in it each begins. */
export interface Words {
  pieces: Piece[];
  starts: number[];
}

export function wordsOf(pieces: Piece[]): Words {
  let at = 0;
  const starts = pieces.map((piece) => (at += piece.text.length) - piece.text.length);
  return { pieces, starts };
}

/**
 * What has been drawn of a block of Markdown.
 *
 * A parser drops the marks from a text but keeps its order, so each run of letters is found in the source after the
 * one before it, and with it the pieces it came from. A run that is not found is shown without tint.
 */
export class Ink {
  depth = 0;

  constructor(
    private readonly source: string,
    private at: number,
    private readonly end: number,
    private readonly words: Words | null,
  ) {}

  /** Draw what `act` draws, then go on behind `raw`, its source. */
  over(raw: string, act: () => ComponentChildren): ComponentChildren {
    const from = this.at;
    this.depth++;
    const drawn = act();
    this.depth--;
    const place = this.find(raw, from);
    if (place >= 0) this.at = Math.max(this.at, place + raw.length);
    return drawn;
  }

  write(text: string): ComponentChildren {
    if (!this.words) return text;
    const place = this.find(text, this.at);
    if (place >= 0) return this.tinted(this.words, place, place + text.length);
    const lines = text.split(/(?<=\n)/);
    return lines.length > 1 ? lines.map((line) => this.write(line)) : text;
  }

  private find(text: string, from: number): number {
    const place = this.source.indexOf(text, from);
    return place >= 0 && place + text.length <= this.end ? place : -1;
  }

  private tinted({ pieces, starts }: Words, from: number, to: number): VNode[] {
    this.at = to;
    const drawn: VNode[] = [];
    for (let place = lastAtMost(starts, from); place < pieces.length; place++) {
      const piece = pieces[place] as Piece;
      const start = starts[place] as number;
      if (start >= to) break;
      const text = this.source.slice(Math.max(from, start), Math.min(to, start + piece.text.length));
      if (text) drawn.push(word(piece, place, text));
    }
    return drawn;
  }
}

/** A tint stops short of the spaces around its word, so that words stay apart. */
function word(piece: Piece, place: number, text: string): VNode {
  const leaf = leafOf(piece);
  const [, before, bare, after] = /^(\s*)(.*?)(\s*)$/s.exec(text) as unknown as [string, string, string, string];
  if (!leaf || !bare) {
    return (
      <span class="word" data-word={place}>
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
      <span class="word tinted" data-word={place} style={style}>
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
