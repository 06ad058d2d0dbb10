import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { MIN_LEAF_WEIGHT, type Piece } from "../state/message";
import { colours } from "../state/models";
import { formatPercent, t } from "../i18n/translate";

const MAX_LEAVES = 5;
const MARGIN_PIXELS = 8;
/** Delay that lets the pointer move from a word onto its card. */
const LEAVE_MILLISECONDS = 150;

const pointed = signal<{ word: HTMLElement; piece: Piece } | null>(null);
let leaving = 0;

export function pointAt(word: HTMLElement, piece: Piece): void {
  clearTimeout(leaving);
  if (pointed.peek()?.word === word) return;
  hideCard();
  word.setAttribute("aria-describedby", "word-card");
  pointed.value = { word, piece };
}

export function hideCard(): void {
  clearTimeout(leaving);
  pointed.peek()?.word.removeAttribute("aria-describedby");
  pointed.value = null;
}

export function leaveCard(): void {
  clearTimeout(leaving);
  leaving = window.setTimeout(hideCard, LEAVE_MILLISECONDS);
}

/** Card of a word: the weights of the leaves, and the most likely alternatives. */
export function WordCard(): VNode | null {
  const card = useRef<HTMLDivElement>(null);
  const at = pointed.value;
  useLayoutEffect(() => {
    if (at && card.current) position(card.current, at.word);
  }, [at]);
  useEffect(() => {
    if (!at) return;
    const hide = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !card.current?.contains(event.target as Node)) {
        hideCard();
      }
    };
    addEventListener("keydown", hide);
    addEventListener("pointerdown", hide);
    addEventListener("scroll", hide, true);
    return () => {
      removeEventListener("keydown", hide);
      removeEventListener("pointerdown", hide);
      removeEventListener("scroll", hide, true);
    };
  }, [at]);
  if (!at) return null;
  const { piece } = at;
  return (
    <div
      id="word-card"
      class="card"
      role="tooltip"
      ref={card}
      onPointerEnter={() => clearTimeout(leaving)}
      onPointerLeave={leaveCard}
    >
      <p class="token">{showWhitespace(piece.text)}</p>
      {piece.leaves && <Bars weights={piece.leaves} />}
      {piece.alternatives && piece.alternatives.length > 0 && <Alternatives piece={piece} />}
    </div>
  );
}

function Bars({ weights }: { weights: Record<string, number> }): VNode {
  const leaves = Object.entries(weights).sort((a, b) => b[1] - a[1]);
  const trunk = Math.max(0, 1 - leaves.reduce((sum, [, weight]) => sum + weight, 0));
  return (
    <dl class="bars">
      {leaves.slice(0, MAX_LEAVES).map(([name, weight]) => (
        <Bar key={name} name={name} weight={weight} colour={colours.value.get(name)} named={weight >= MIN_LEAF_WEIGHT} />
      ))}
      <Bar name={t("trunk")} weight={trunk} />
    </dl>
  );
}

function Bar(props: { name: string; weight: number; colour?: string | undefined; named?: boolean }): VNode {
  const style = { "--leaf": props.colour ?? "var(--faint)", "--share": `${100 * props.weight}%` };
  return (
    <div class={props.named ? "named" : undefined} style={style}>
      <dt>{props.name}</dt>
      <dd>
        <i />
        <span>{formatPercent(props.weight)}</span>
      </dd>
    </div>
  );
}

function Alternatives({ piece }: { piece: Piece }): VNode {
  return (
    <>
      <h3>{t("alternatives")}</h3>
      <ol class="alternatives">
        {piece.alternatives?.map(([token, probability]) => (
          <li class={token === piece.text ? "chosen" : undefined}>
            <span class="token">{showWhitespace(token)}</span> <span>{formatPercent(probability)}</span>
          </li>
        ))}
      </ol>
    </>
  );
}

/** Make the white space of a token visible; some tokens consist of nothing else. */
function showWhitespace(token: string): string {
  return token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
}

function position(card: HTMLElement, word: HTMLElement): void {
  const target = word.getClientRects()[0] ?? word.getBoundingClientRect();
  const { width, height } = card.getBoundingClientRect();
  const left = Math.min(Math.max(MARGIN_PIXELS, target.left), innerWidth - width - MARGIN_PIXELS);
  const above = target.top - height - MARGIN_PIXELS;
  const top = above > MARGIN_PIXELS ? above : target.bottom + MARGIN_PIXELS;
  card.style.setProperty("left", `${left}px`);
  card.style.setProperty("top", `${top}px`);
}
