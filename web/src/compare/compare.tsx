import { signal, useSignal, type Signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { AnswerText } from "../chat/answer_text";
import { Ending } from "../chat/ending";
import { LeafSwitches } from "../chat/leaf_bar";
import { keepAnswer, requestFor, streamInto } from "../state/answering";
import type { Draft } from "../state/message";
import { leafChoice, leaves } from "../state/models";
import { currentConversation, showConversation } from "../state/navigation";
import type { Conversation } from "../state/conversation";
import { t } from "../i18n/translate";

/** One question, answered by two sets of leaves side by side. */
export function Compare({ question }: { question: string }): VNode | null {
  const conversation = currentConversation.value;
  if (!conversation?.has(question)) return null;
  return <Sides key={question} conversation={conversation} question={question} />;
}

/** A set of leaves and its answer. */
interface Side {
  off: Signal<Set<string>>;
  draft: Signal<Draft | null>;
}

function Sides({ conversation, question }: { conversation: Conversation; question: string }): VNode {
  const names = leaves.value.map(({ name }) => name);
  const first = useMemo<Side>(() => ({ off: signal(new Set()), draft: signal(null) }), []);
  const second = useMemo<Side>(() => ({ off: signal(new Set(names)), draft: signal(null) }), [names.length]);
  const running = useSignal<AbortController | null>(null);
  useEffect(() => () => running.peek()?.abort(), []);

  const run = async () => {
    const abort = new AbortController();
    running.value = abort;
    await Promise.all([first, second].map((side) => fill(side, conversation, question, abort.signal)));
    running.value = null;
  };
  const keep = (side: Side) => {
    if (side.draft.value) keepAnswer(conversation, question, side.draft.value, leafChoice(side.off.value));
    showConversation(conversation);
  };
  const questionText = conversation.message(question).value.text;
  return (
    <div class="view compare" onKeyDown={(event) => event.key === "Escape" && running.value?.abort()}>
      <h1>{t("compare")}</h1>
      <p class="lead">{t("compareAbout")}</p>
      <blockquote class="asked">{questionText}</blockquote>
      <div class="choices start">
        {running.value ? (
          <button class="strong" onClick={() => running.value?.abort()}>
            {t("stop")}
          </button>
        ) : (
          <button class="strong" onClick={() => void run()}>
            {t("compareRun")}
          </button>
        )}
        <button class="quiet" onClick={() => showConversation(conversation)}>
          {t("compareBack")}
        </button>
      </div>
      <div class="sides">
        <Column label={t("compareFirst")} side={first} onRun={() => void run()} onKeep={keep} />
        <Column label={t("compareSecond")} side={second} onRun={() => void run()} onKeep={keep} />
      </div>
    </div>
  );
}

interface ColumnProps {
  label: string;
  side: Side;
  onRun: () => void;
  onKeep: (side: Side) => void;
}

function Column({ label, side, onRun, onKeep }: ColumnProps): VNode {
  const draft = side.draft.value;
  const onSwitch = (name: string) => {
    const off = new Set(side.off.value);
    if (!off.delete(name)) off.add(name);
    side.off.value = off;
  };
  const complete = draft && draft.text && draft.progress !== "writing";
  return (
    <section aria-label={label}>
      <h2>{label}</h2>
      <LeafSwitches label={label} off={side.off.value} onSwitch={onSwitch} />
      {draft && <AnswerText draft={draft} />}
      {draft && <Ending draft={draft} onRetry={onRun} />}
      {complete && (
        <button class="link" onClick={() => onKeep(side)}>
          {t("compareKeep")}
        </button>
      )}
    </section>
  );
}

async function fill(side: Side, conversation: Conversation, question: string, abort: AbortSignal): Promise<void> {
  const request = requestFor(conversation.upTo(question), leafChoice(side.off.peek()));
  const draft = signal<Draft>({ text: "", pieces: [], progress: "writing" });
  const stop = draft.subscribe((value) => (side.draft.value = value));
  await streamInto(draft, request, abort);
  stop();
}
