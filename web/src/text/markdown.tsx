import { Lexer, type MarkedToken, type Token, type Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { memo } from "preact/compat";
import type { Piece } from "../state/message";
import { Ink, wordsOf, type Words } from "./ink";
import { safeAddress } from "./links";

/** Above these a text is shown as it is; some patterns cost a parser the square of a line, or its stack. */
const MAX_CHARACTERS = 200_000;
const MAX_LINE = /[^\n]{10000}/;
const MAX_DEPTH = 24;

/** Text as Markdown, built node by node: nothing that a model writes is ever read as HTML. */
export function Markdown({ text, pieces }: { text: string; pieces: Piece[] | null }): VNode {
  const words = pieces && wordsOf(pieces);
  let at = 0;
  return (
    <>
      {split(text).map((token, place) => {
        const start = at;
        at += token.raw.length;
        return <Block key={place} token={token} start={start} source={text} words={words} />;
      })}
    </>
  );
}

function split(text: string): Token[] {
  const plain = [{ type: "plain", raw: text, text }];
  if (text.length > MAX_CHARACTERS || MAX_LINE.test(text)) return plain;
  try {
    return new Lexer({ gfm: true, breaks: true }).lex(text);
  } catch (error) {
    if (error instanceof RangeError) return plain;
    throw error;
  }
}

interface BlockGiven {
  token: Token;
  start: number;
  source: string;
  words: Words | null;
}

/** Drawn anew only if its own source changed, so that a long answer costs no more a token than a short one. */
const Block = memo(
  ({ token, start, source, words }: BlockGiven) => (
    <>{draw(token, new Ink(source, start, start + token.raw.length, words))}</>
  ),
  (before, after) =>
    before.token.raw === after.token.raw && before.start === after.start && !before.words === !after.words,
);

function draw(token: Token, ink: Ink): ComponentChildren {
  if (ink.depth > MAX_DEPTH) return ink.write(token.raw);
  return ink.over(token.raw, () => node(token as MarkedToken, ink));
}

function drawAll(tokens: Token[] | undefined, ink: Ink): ComponentChildren {
  return tokens?.map((token) => draw(token, ink));
}

function node(token: MarkedToken, ink: Ink): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "paragraph":
      return <p>{drawAll(token.tokens, ink)}</p>;
    case "heading":
      return token.depth < 3 ? <h3>{drawAll(token.tokens, ink)}</h3> : <h4>{drawAll(token.tokens, ink)}</h4>;
    case "code":
      return (
        <pre tabIndex={0}>
          <code>{ink.write(token.text)}</code>
        </pre>
      );
    case "blockquote":
      return <blockquote>{drawAll(token.tokens, ink)}</blockquote>;
    case "list":
      return list(token as Tokens.List, ink);
    case "checkbox":
      return token.checked ? "☑ " : "☐ ";
    case "table":
      return table(token as Tokens.Table, ink);
    case "hr":
      return <hr />;
    case "br":
      return <br />;
    case "strong":
      return <strong>{drawAll(token.tokens, ink)}</strong>;
    case "em":
      return <em>{drawAll(token.tokens, ink)}</em>;
    case "del":
      return <del>{drawAll(token.tokens, ink)}</del>;
    case "codespan":
      return <code>{ink.write(token.text)}</code>;
    case "link":
    case "image":
      return link(token as Tokens.Link | Tokens.Image, ink);
    case "text":
      return "tokens" in token && token.tokens ? drawAll(token.tokens, ink) : written(token.text, ink);
    case "escape":
      return ink.write(token.text);
    case "html":
      return token.block ? <p class="plain">{ink.write(token.text)}</p> : ink.write(token.text);
    default: // Text that is too long to parse.
      return <p class="plain">{ink.write((token as Token).raw)}</p>;
  }
}

function list(token: Tokens.List, ink: Ink): VNode {
  const items = token.items.map((item) => <li>{ink.over(item.raw, () => drawAll(item.tokens, ink))}</li>);
  return token.ordered ? <ol start={token.start === "" ? 1 : token.start}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, ink: Ink): VNode {
  return (
    <div class="wide" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell) => (
              <th scope="col">{drawAll(cell.tokens, ink)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>
              {row.map((cell) => (
                <td>{drawAll(cell.tokens, ink)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A picture is a link too: showing it would tell its server who reads this. */
function link(token: Tokens.Link | Tokens.Image, ink: Ink): ComponentChildren {
  const text = drawAll(token.tokens, ink);
  const address = safeAddress(token.href);
  if (!address) return text;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow">
      {text}
    </a>
  );
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00a0" };

function written(text: string, ink: Ink): ComponentChildren {
  const read = text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (whole, name: string) => ENTITIES[name] ?? whole);
  return read === text ? ink.write(text) : read;
}
