import type { VNode } from "preact";
import { NoModels } from "../models/no_models";
import { ask } from "../state/answering";
import { createConversation } from "../state/history";
import { leaves, model } from "../state/models";
import { currentConversation, showConversation, view } from "../state/navigation";
import { t } from "../i18n/translate";
import { Composer } from "./composer";
import { Thread } from "./thread";

export function Chat(): VNode {
  const conversation = currentConversation.value;
  const beginning = view.value.name === "chat" && view.value.conversation === null;
  const onSend = (text: string) => {
    const into = conversation ?? createConversation(text);
    ask(into, into.path.peek().at(-1) ?? null, text);
    showConversation(into);
  };
  return (
    <div class="chat">
      {conversation ? (
        <Thread key={conversation.record.peek().id} conversation={conversation} />
      ) : (
        <div class="thread empty">{beginning && <Welcome />}</div>
      )}
      <Composer conversation={conversation?.record.peek().id ?? null} running={conversation?.running.value ?? null} onSend={onSend} />
    </div>
  );
}

function Welcome(): VNode {
  return (
    <div class="welcome">
      <h1>{t("emptyTitle")}</h1>
      <NoModels />
      {model.value && <p>{about(leaves.value.length)}</p>}
    </div>
  );
}

function about(count: number): string {
  if (count === 0) return t("emptyTrunk");
  return count === 1 ? t("emptyLeaf") : t("emptyLeaves", { count });
}
