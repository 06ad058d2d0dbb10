import type { Signal } from "@preact/signals";
import { ConnectionLost, streamChat } from "../api/client";
import type { ChatRequest, LeafChoice, Turn } from "../api/types";
import { newId, saveMessage, saveTalk } from "./history";
import { piecesOf, type Draft, type Message } from "./message";
import { leafChoice, leavesOff, model } from "./models";
import { problemOf } from "./problem";
import { settings } from "./settings";
import type { Talk } from "./talk";

const SAVE_MILLISECONDS = 1000;

/** Add what the user says below `parent`, and have it answered. */
export function ask(talk: Talk, parent: string | null, text: string): void {
  const question = put(talk, { role: "user", parent, text });
  answer(talk, question.peek().id);
}

/** Answer a question, once more if it has an answer. */
export function answer(talk: Talk, question: string): void {
  void carryOut(talk, put(talk, { role: "assistant", parent: question, progress: "writing" }));
}

/** Go on with an answer that broke off: the server is given what there is of it. */
export function goOn(talk: Talk, id: string): void {
  const message = talk.message(id);
  const { problem: _, ...kept } = message.peek();
  message.value = { ...kept, progress: "writing" };
  void carryOut(talk, message);
}

/** Keep an answer that was written elsewhere beside those that a question has. */
export function adopt(talk: Talk, question: string, draft: Draft, leaves: LeafChoice | undefined): void {
  put(talk, { role: "assistant", parent: question, ...draft, ...(leaves ? { leaves } : {}) });
}

/** Return the request for an answer to these messages. */
export function requestFor(messages: Message[], choice: LeafChoice | undefined): ChatRequest {
  const { system, temperature, topP, maxTokens, seed } = settings.peek();
  const turns: Turn[] = system.trim() ? [{ role: "system", content: system }] : [];
  for (const { role, text } of messages) if (text) turns.push({ role, content: text });
  return {
    model: model.peek()?.id ?? "",
    messages: turns,
    ...(choice ? { leaves: choice } : {}),
    ...(temperature === null ? {} : { temperature }),
    ...(topP === null ? {} : { top_p: topP }),
    ...(maxTokens === null ? {} : { max_completion_tokens: maxTokens }),
    ...(seed === null ? {} : { seed }),
  };
}

/** Write an answer into a draft, at most once a frame, until it ends in whatever way. */
export async function write<D extends Draft>(draft: Signal<D>, request: ChatRequest, signal: AbortSignal): Promise<void> {
  let frame = 0;
  let { text, pieces, usage } = draft.peek();
  let progress: Draft["progress"] = "done";
  const show = (changes: Partial<Draft>) => {
    cancelAnimationFrame(frame);
    frame = 0;
    draft.value = { ...draft.peek(), text, pieces, ...(usage ? { usage } : {}), ...changes };
  };
  try {
    for await (const chunk of streamChat(request, signal)) {
      const choice = chunk.choices[0];
      usage = chunk.usage ?? usage;
      if (choice?.finish_reason === "length") progress = "cut";
      const added = choice ? piecesOf(choice) : [];
      pieces.push(...added);
      text += added.map((piece) => piece.text).join("");
      if (added.length) frame ||= requestAnimationFrame(() => show({}));
    }
    show({ progress });
  } catch (error) {
    if (signal.aborted) show({ progress: "stopped" });
    else show({ progress: error instanceof ConnectionLost && text ? "lost" : "failed", problem: problemOf(error) });
  }
}

async function carryOut(talk: Talk, message: Signal<Message>): Promise<void> {
  const { id, text, parent, leaves } = message.peek();
  const choice = text ? leaves : leafChoice(leavesOff.peek());
  const request = requestFor(talk.upTo(text ? id : (parent ?? id)), choice);
  message.value = { ...message.peek(), model: request.model, ...(choice ? { leaves: choice } : {}) };
  const running = new AbortController();
  talk.running.peek()?.abort();
  talk.running.value = running;
  const saving = setInterval(() => void saveMessage(talk, id), SAVE_MILLISECONDS);
  await write(message, request, running.signal);
  clearInterval(saving);
  if (talk.running.peek() === running) talk.running.value = null;
  void saveMessage(talk, id);
}

function put(talk: Talk, given: Partial<Message> & Pick<Message, "role" | "parent">): Signal<Message> {
  const place = { id: newId(), talk: talk.record.peek().id, order: talk.size };
  const added = talk.add({ ...place, text: "", pieces: [], progress: "done", ...given });
  void saveTalk(talk);
  void saveMessage(talk, place.id);
  return added;
}
