import { signal, useSignal, type Signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { AnswerText } from "../chat/answer_text";
import { Ending } from "../chat/ending";
import { LeafSwitches } from "../chat/leaf_bar";
import { adopt, requestFor, write } from "../state/answering";
import type { Draft } from "../state/message";
import { leafChoice, leaves } from "../state/models";
import { current, enter } from "../state/navigation";
import type { Talk } from "../state/talk";
import { say } from "../words/words";

/** One question, answered by two sets of leaves side by side. */
export function Compare({ question }: { question: string }): VNode | null {
  const talk = current.value;
  if (!talk?.has(question)) return null;
  return <Sides key={question} talk={talk} question={question} />;
}

/** A set of leaves and its answer. */
interface Side {
  off: Signal<Set<string>>;
  draft: Signal<Draft | null>;
}

function Sides({ talk, question }: { talk: Talk; question: string }): VNode {
  const every = leaves.value.map(({ name }) => name);
  const first = useMemo<Side>(() => ({ off: signal(new Set()), draft: signal(null) }), []);
  const second = useMemo<Side>(() => ({ off: signal(new Set(every)), draft: signal(null) }), [every.length]);
  const running = useSignal<AbortController | null>(null);
  useEffect(() => () => running.peek()?.abort(), []);

  const run = async () => {
    const abort = new AbortController();
    running.value = abort;
    await Promise.all([first, second].map((side) => fill(side, talk, question, abort.signal)));
    running.value = null;
  };
  const keep = (side: Side) => {
    if (side.draft.value) adopt(talk, question, side.draft.value, leafChoice(side.off.value));
    enter(talk);
  };
  const asked = talk.message(question).value.text;
  return (
    <div class="view compare" onKeyDown={(event) => event.key === "Escape" && running.value?.abort()}>
      <h1>{say("compare")}</h1>
      <p class="lead">{say("compareAbout")}</p>
      <blockquote class="asked">{asked}</blockquote>
      <div class="choices start">
        {running.value ? (
          <button class="strong" onClick={() => running.value?.abort()}>
            {say("stop")}
          </button>
        ) : (
          <button class="strong" onClick={() => void run()}>
            {say("compareRun")}
          </button>
        )}
        <button class="quiet" onClick={() => enter(talk)}>
          {say("compareBack")}
        </button>
      </div>
      <div class="sides">
        <Column label={say("compareFirst")} side={first} onRun={() => void run()} onKeep={keep} />
        <Column label={say("compareSecond")} side={second} onRun={() => void run()} onKeep={keep} />
      </div>
    </div>
  );
}

interface ColumnGiven {
  label: string;
  side: Side;
  onRun: () => void;
  onKeep: (side: Side) => void;
}

function Column({ label, side, onRun, onKeep }: ColumnGiven): VNode {
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
          {say("compareKeep")}
        </button>
      )}
    </section>
  );
}

async function fill(side: Side, talk: Talk, question: string, abort: AbortSignal): Promise<void> {
  const request = requestFor(talk.upTo(question), leafChoice(side.off.peek()));
  const draft = signal<Draft>({ text: "", pieces: [], progress: "writing" });
  const stop = draft.subscribe((value) => (side.draft.value = value));
  await write(draft, request, abort);
  stop();
}
