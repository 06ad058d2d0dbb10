import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Draft } from "../state/message";
import { settings } from "../state/settings";
import { Markdown } from "../text/markdown";
import { t } from "../i18n/translate";
import { hideCard, leaveCard, pointAt } from "./word_card";

/** The text of an answer. If tinted, each word shows its card on hover, touch or with the arrow keys. */
export function AnswerText({ draft }: { draft: Draft }): VNode {
  const box = useRef<HTMLDivElement>(null);
  const { text, pieces, progress } = draft;
  const tint = settings.value.tint && pieces.some((piece) => piece.leaves || piece.alternatives);
  useEffect(() => hideCard, [tint]);
  if (!tint) {
    return (
      <div class="text">
        <Markdown text={text} pieces={null} />
        <Announcement text={text} progress={progress} />
      </div>
    );
  }
  const showCard = (event: Event) => {
    const word = (event.target as Element).closest<HTMLElement>("[data-word]");
    const piece = word && pieces[Number(word.dataset["word"])];
    if (piece) pointAt(word, piece);
  };
  return (
    <div class="text">
      <div
        ref={box}
        role="group"
        tabIndex={0}
        aria-label={t("wordsLabel")}
        onPointerOver={showCard}
        onPointerLeave={leaveCard}
        onFocusIn={showCard}
        onClick={showCard}
        onFocusOut={leaveCard}
        onKeyDown={(event) => step(event, box.current)}
      >
        <Markdown text={text} pieces={pieces} />
      </div>
      <Announcement text={text} progress={progress} />
    </div>
  );
}

/** Announces the answer once it is complete: a screen reader could not keep up with a stream. */
function Announcement({ text, progress }: Pick<Draft, "text" | "progress">): VNode {
  const streamed = useRef(false);
  streamed.current ||= progress === "writing";
  return (
    <div class="hidden" aria-live="polite">
      {streamed.current && (progress === "writing" ? t("answering") : text)}
    </div>
  );
}

const STEPS: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function step(event: KeyboardEvent, box: HTMLElement | null): void {
  if (event.key === "Escape") hideCard();
  const by = STEPS[event.key];
  if (!by || !box || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const words = [...box.querySelectorAll<HTMLElement>("[data-word]")];
  const at = words.indexOf(document.activeElement as HTMLElement);
  const next = words[at < 0 ? (by > 0 ? 0 : words.length - 1) : at + by];
  if (!next) return;
  next.tabIndex = -1;
  next.focus();
}
