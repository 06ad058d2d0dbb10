import type { VNode } from "preact";
import { NoModels } from "../models/no_models";
import { ask } from "../state/answering";
import { createTalk } from "../state/history";
import { leaves, model } from "../state/models";
import { current, enter, view } from "../state/navigation";
import { say } from "../words/words";
import { Composer } from "./composer";
import { Thread } from "./thread";

export function Chat(): VNode {
  const talk = current.value;
  const beginning = view.value.name === "chat" && view.value.talk === null;
  const onSend = (text: string) => {
    const into = talk ?? createTalk(text);
    ask(into, into.path.peek().at(-1) ?? null, text);
    enter(into);
  };
  return (
    <div class="chat">
      {talk ? (
        <Thread key={talk.record.peek().id} talk={talk} />
      ) : (
        <div class="thread empty">{beginning && <Welcome />}</div>
      )}
      <Composer talk={talk?.record.peek().id ?? null} running={talk?.running.value ?? null} onSend={onSend} />
    </div>
  );
}

function Welcome(): VNode {
  return (
    <div class="welcome">
      <h1>{say("emptyTitle")}</h1>
      <NoModels />
      {model.value && <p>{about(leaves.value.length)}</p>}
    </div>
  );
}

function about(count: number): string {
  if (count === 0) return say("emptyTrunk");
  return count === 1 ? say("emptyLeaf") : say("emptyLeaves", { count });
}
