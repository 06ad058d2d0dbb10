import type { Signal } from "@preact/signals";
import { ConnectionLost, streamChat } from "../api/client";
import type { ChatRequest, LeafChoice, Turn } from "../api/types";
import { newId, saveMessage, saveConversation } from "./history";
import { piecesOf, type Draft, type Message } from "./message";
import { leafChoice, leavesOff, model } from "./models";
import { problemOf } from "./problem";
import { settings } from "./settings";
import type { Conversation } from "./conversation";

const SAVE_MILLISECONDS = 1000;

/** Add a user message below `parent` and generate an answer. */
export function ask(conversation: Conversation, parent: string | null, text: string): void {
  const question = addMessage(conversation, { role: "user", parent, text });
  answer(conversation, question.peek().id);
}

/** Generate an answer to a question; it may already have others. */
export function answer(conversation: Conversation, question: string): void {
  void generate(conversation, addMessage(conversation, { role: "assistant", parent: question, progress: "writing" }));
}

/** Continue an interrupted answer from the text received so far. */
export function continueAnswer(conversation: Conversation, id: string): void {
  const message = conversation.message(id);
  const { problem: _, ...rest } = message.peek();
  message.value = { ...rest, progress: "writing" };
  void generate(conversation, message);
}

/** Add an answer from the comparison view to the answers of a question. */
export function keepAnswer(conversation: Conversation, question: string, draft: Draft, leaves: LeafChoice | undefined): void {
  addMessage(conversation, { role: "assistant", parent: question, ...draft, ...(leaves ? { leaves } : {}) });
}

/** Build the chat request for these messages. */
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

/** Stream a completion into a draft, updating it at most once per frame. */
export async function streamInto<D extends Draft>(draft: Signal<D>, request: ChatRequest, signal: AbortSignal): Promise<void> {
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

async function generate(conversation: Conversation, message: Signal<Message>): Promise<void> {
  const { id, text, parent, leaves } = message.peek();
  const choice = text ? leaves : leafChoice(leavesOff.peek());
  const request = requestFor(conversation.upTo(text ? id : (parent ?? id)), choice);
  message.value = { ...message.peek(), model: request.model, ...(choice ? { leaves: choice } : {}) };
  const running = new AbortController();
  conversation.running.peek()?.abort();
  conversation.running.value = running;
  const saving = setInterval(() => void saveMessage(conversation, id), SAVE_MILLISECONDS);
  await streamInto(message, request, running.signal);
  clearInterval(saving);
  if (conversation.running.peek() === running) conversation.running.value = null;
  void saveMessage(conversation, id);
}

function addMessage(conversation: Conversation, given: Partial<Message> & Pick<Message, "role" | "parent">): Signal<Message> {
  const identity = { id: newId(), talk: conversation.record.peek().id, order: conversation.size };
  const added = conversation.add({ ...identity, text: "", pieces: [], progress: "done", ...given });
  void saveConversation(conversation);
  void saveMessage(conversation, identity.id);
  return added;
}
