import { Lexer, type MarkedToken, type Token, type Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { memo } from "preact/compat";
import type { Piece } from "../state/message";
import { TintedSource, locatePieces, type LocatedPieces } from "./tinted_source";
import { safeAddress } from "./links";

/** Texts beyond these limits are shown as plain text: parsing them may take quadratic time or overflow the stack. */
const MAX_CHARACTERS = 200_000;
const MAX_LINE = /[^\n]{10000}/;
const MAX_DEPTH = 24;

/** Renders Markdown node by node; model output is never interpreted as HTML. */
export function Markdown({ text, pieces }: { text: string; pieces: Piece[] | null }): VNode {
  const located = pieces && locatePieces(pieces);
  let at = 0;
  return (
    <>
      {split(text).map((token, index) => {
        const start = at;
        at += token.raw.length;
        return <Block key={index} token={token} start={start} source={text} located={located} />;
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

interface BlockProps {
  token: Token;
  start: number;
  source: string;
  located: LocatedPieces | null;
}

/** Redrawn only if its own source changed, so that the cost per token does not grow with the answer. */
const Block = memo(
  ({ token, start, source, located }: BlockProps) => (
    <>{draw(token, new TintedSource(source, start, start + token.raw.length, located))}</>
  ),
  (before, after) =>
    before.token.raw === after.token.raw && before.start === after.start && !before.located === !after.located,
);

function draw(token: Token, tinted: TintedSource): ComponentChildren {
  if (tinted.depth > MAX_DEPTH) return tinted.write(token.raw);
  return tinted.within(token.raw, () => node(token as MarkedToken, tinted));
}

function drawAll(tokens: Token[] | undefined, tinted: TintedSource): ComponentChildren {
  return tokens?.map((token) => draw(token, tinted));
}

function node(token: MarkedToken, tinted: TintedSource): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "paragraph":
      return <p>{drawAll(token.tokens, tinted)}</p>;
    case "heading":
      return token.depth < 3 ? <h3>{drawAll(token.tokens, tinted)}</h3> : <h4>{drawAll(token.tokens, tinted)}</h4>;
    case "code":
      return (
        <pre tabIndex={0}>
          <code>{tinted.write(token.text)}</code>
        </pre>
      );
    case "blockquote":
      return <blockquote>{drawAll(token.tokens, tinted)}</blockquote>;
    case "list":
      return list(token as Tokens.List, tinted);
    case "checkbox":
      return token.checked ? "☑ " : "☐ ";
    case "table":
      return table(token as Tokens.Table, tinted);
    case "hr":
      return <hr />;
    case "br":
      return <br />;
    case "strong":
      return <strong>{drawAll(token.tokens, tinted)}</strong>;
    case "em":
      return <em>{drawAll(token.tokens, tinted)}</em>;
    case "del":
      return <del>{drawAll(token.tokens, tinted)}</del>;
    case "codespan":
      return <code>{tinted.write(token.text)}</code>;
    case "link":
    case "image":
      return link(token as Tokens.Link | Tokens.Image, tinted);
    case "text":
      return "tokens" in token && token.tokens ? drawAll(token.tokens, tinted) : plainText(token.text, tinted);
    case "escape":
      return tinted.write(token.text);
    case "html":
      return token.block ? <p class="plain">{tinted.write(token.text)}</p> : tinted.write(token.text);
    default: // Text beyond the limits of the parser.
      return <p class="plain">{tinted.write((token as Token).raw)}</p>;
  }
}

function list(token: Tokens.List, tinted: TintedSource): VNode {
  const items = token.items.map((item) => <li>{tinted.within(item.raw, () => drawAll(item.tokens, tinted))}</li>);
  return token.ordered ? <ol start={token.start === "" ? 1 : token.start}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, tinted: TintedSource): VNode {
  return (
    <div class="wide" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell) => (
              <th scope="col">{drawAll(cell.tokens, tinted)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>
              {row.map((cell) => (
                <td>{drawAll(cell.tokens, tinted)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Images are shown as links: loading them would reveal the reader to their server. */
function link(token: Tokens.Link | Tokens.Image, tinted: TintedSource): ComponentChildren {
  const text = drawAll(token.tokens, tinted);
  const address = safeAddress(token.href);
  if (!address) return text;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow">
      {text}
    </a>
  );
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00a0" };

function plainText(text: string, tinted: TintedSource): ComponentChildren {
  const decoded = text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (whole, name: string) => ENTITIES[name] ?? whole);
  return decoded === text ? tinted.write(text) : decoded;
}
