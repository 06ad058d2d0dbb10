import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { memo } from "preact/compat";
import { Icon } from "../shell/icons";
import { answer, ask, continueAnswer } from "../state/answering";
import { saveConversation } from "../state/history";
import type { Message } from "../state/message";
import { leaves } from "../state/models";
import { navigate } from "../state/navigation";
import type { Conversation } from "../state/conversation";
import { t } from "../i18n/translate";
import { AnswerText } from "./answer_text";
import { EditBox } from "./edit_box";
import { Ending } from "./ending";
import { focusComposer } from "./keys";

interface Props {
  conversation: Conversation;
  id: string;
  last: boolean;
}

/** One message. It subscribes to its own signal only, so that tokens of other messages do not redraw it. */
export const Row = memo(({ conversation, id, last }: Props) => {
  const message = conversation.message(id).value;
  return message.role === "user" ? (
    <Question conversation={conversation} message={message} />
  ) : (
    <Answer conversation={conversation} message={message} last={last} />
  );
});

function Question({ conversation, message }: { conversation: Conversation; message: Message }): VNode {
  const editing = useSignal(false);
  const { id, parent, text } = message;
  const close = () => {
    editing.value = false;
    focusComposer();
  };
  const send = (changed: string) => {
    close();
    ask(conversation, parent, changed);
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
      <h2 class="hidden">{t("you")}</h2>
      <div class="said">{text}</div>
      <div class="actions">
        <Branches conversation={conversation} id={id} />
        <button class="link" onClick={() => (editing.value = true)}>
          {t("edit")}
        </button>
      </div>
    </article>
  );
}

function Answer({ conversation, message, last }: Omit<Props, "id"> & { message: Message }): VNode {
  const { id, parent, progress, text } = message;
  const question = parent ?? "";
  return (
    <article class="row answer" aria-busy={progress === "writing"}>
      <h2 class="hidden">{t("answerOf")}</h2>
      <AnswerText draft={message} />
      <Ending draft={message} onContinue={() => continueAnswer(conversation, id)} onRetry={() => answer(conversation, question)} />
      {progress !== "writing" && (
        <div class="actions">
          <Branches conversation={conversation} id={id} />
          {navigator.clipboard && text && <Copy text={text} />}
          <button class="link" onClick={() => answer(conversation, question)}>
            {t("regenerate")}
          </button>
          {last && leaves.value.length > 0 && (
            <button class="link" onClick={() => navigate(`#/compare/${message.talk}/${question}`)}>
              {t("compare")}
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
      {t(copied.value ? "copied" : "copy")}
    </button>
  );
}

function Branches({ conversation, id }: { conversation: Conversation; id: string }): VNode | null {
  const all = conversation.siblings(id);
  if (all.length < 2) return null;
  const at = all.indexOf(id);
  const step = (by: number) => {
    const to = all[at + by];
    if (!to) return;
    conversation.show(to);
    void saveConversation(conversation);
  };
  return (
    <span class="branches" role="group" aria-label={t("branchOf", { at: at + 1, count: all.length })}>
      <button class="icon-button" aria-label={t("branchPrevious")} disabled={at === 0} onClick={() => step(-1)}>
        <Icon name="left" />
      </button>
      {at + 1}/{all.length}
      <button
        class="icon-button"
        aria-label={t("branchNext")}
        disabled={at === all.length - 1}
        onClick={() => step(1)}
      >
        <Icon name="right" />
      </button>
    </span>
  );
}
