import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { memo } from "preact/compat";
import { Icon } from "../shell/icons";
import { answer, ask, goOn } from "../state/answering";
import { saveTalk } from "../state/history";
import type { Message } from "../state/message";
import { leaves } from "../state/models";
import { go } from "../state/navigation";
import type { Talk } from "../state/talk";
import { say } from "../words/words";
import { AnswerText } from "./answer_text";
import { EditBox } from "./edit_box";
import { Ending } from "./ending";
import { toComposer } from "./keys";

interface Given {
  talk: Talk;
  id: string;
  last: boolean;
}

/** One message; it listens to its own signal, so that a token of another does not redraw it. */
export const Row = memo(({ talk, id, last }: Given) => {
  const message = talk.message(id).value;
  return message.role === "user" ? (
    <Question talk={talk} message={message} />
  ) : (
    <Answer talk={talk} message={message} last={last} />
  );
});

function Question({ talk, message }: { talk: Talk; message: Message }): VNode {
  const editing = useSignal(false);
  const { id, parent, text } = message;
  const close = () => {
    editing.value = false;
    toComposer();
  };
  const send = (changed: string) => {
    close();
    ask(talk, parent, changed);
  };
  if (editing.value) {
    return (
      <article class="row question">
        <EditBox text={text} onSend={send} onCancel={close} />
      </article>
    );
  }
  return (
    <article class="row question">
      <h2 class="hidden">{say("you")}</h2>
      <div class="said">{text}</div>
      <div class="actions">
        <Branches talk={talk} id={id} />
        <button class="link" onClick={() => (editing.value = true)}>
          {say("edit")}
        </button>
      </div>
    </article>
  );
}

function Answer({ talk, message, last }: Omit<Given, "id"> & { message: Message }): VNode {
  const { id, parent, progress, text } = message;
  const question = parent ?? "";
  return (
    <article class="row answer" aria-busy={progress === "writing"}>
      <h2 class="hidden">{say("answerOf")}</h2>
      <AnswerText draft={message} />
      <Ending draft={message} onGoOn={() => goOn(talk, id)} onRetry={() => answer(talk, question)} />
      {progress !== "writing" && (
        <div class="actions">
          <Branches talk={talk} id={id} />
          {navigator.clipboard && text && <Copy text={text} />}
          <button class="link" onClick={() => answer(talk, question)}>
            {say("regenerate")}
          </button>
          {last && leaves.value.length > 0 && (
            <button class="link" onClick={() => go(`#/compare/${message.talk}/${question}`)}>
              {say("compare")}
            </button>
          )}
        </div>
      )}
    </article>
  );
}

function Copy({ text }: { text: string }): VNode {
  const copied = useSignal(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    copied.value = true;
    setTimeout(() => (copied.value = false), 2000);
  };
  return (
    <button class="link" onClick={() => void copy()}>
      {say(copied.value ? "copied" : "copy")}
    </button>
  );
}

function Branches({ talk, id }: { talk: Talk; id: string }): VNode | null {
  const all = talk.siblings(id);
  if (all.length < 2) return null;
  const at = all.indexOf(id);
  const step = (by: number) => {
    const to = all[at + by];
    if (!to) return;
    talk.show(to);
    void saveTalk(talk);
  };
  return (
    <span class="branches" role="group" aria-label={say("branchOf", { at: at + 1, count: all.length })}>
      <button class="icon-button" aria-label={say("branchPrevious")} disabled={at === 0} onClick={() => step(-1)}>
        <Icon name="left" />
      </button>
      {at + 1}/{all.length}
      <button
        class="icon-button"
        aria-label={say("branchNext")}
        disabled={at === all.length - 1}
        onClick={() => step(1)}
      >
        <Icon name="right" />
      </button>
    </span>
  );
}
