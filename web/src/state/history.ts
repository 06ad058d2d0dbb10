import { signal } from "@preact/signals";
import * as database from "./database";
import { Conversation, type ConversationRecord } from "./conversation";

/** All conversations, newest first. */
export const conversations = signal<ConversationRecord[]>([]);

/** Conversations opened since the page was loaded; their answers keep streaming in the background. */
const open = new Map<string, Conversation>();

/** False once the browser has refused to store data, as some do in private windows. */
export const storageWorks = signal(true);

export async function loadConversations(): Promise<void> {
  await persist(async () => {
    conversations.value = (await database.readConversations()).sort((a, b) => b.updated - a.updated);
  });
}

export function createConversation(firstText: string): Conversation {
  const now = Date.now();
  const title = firstText.trim().replace(/\s+/g, " ").slice(0, 80);
  const conversation = new Conversation({ id: newId(), title, created: now, updated: now, picked: {} });
  open.set(conversation.record.peek().id, conversation);
  return conversation;
}

/** Return a random id; `crypto.randomUUID` exists only on https and localhost. */
export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function openConversation(id: string): Promise<Conversation | null> {
  const opened = open.get(id);
  if (opened) return opened;
  const stored = await database.readConversation(id);
  if (!stored) return null;
  const [record, messages] = stored;
  // An answer that was streaming when the page was closed ended there.
  const ended = messages.map((each) => (each.progress === "writing" ? { ...each, progress: "lost" as const } : each));
  const conversation = new Conversation(record, ended);
  open.set(id, conversation);
  return conversation;
}

export async function saveConversation(conversation: Conversation): Promise<void> {
  const record = conversation.record.peek();
  if (!open.has(record.id)) return; // Deleted while its answer was streaming.
  conversations.value = [record, ...conversations.peek().filter(({ id }) => id !== record.id)];
  await persist(() => database.saveConversation(record));
}

export async function saveMessage(conversation: Conversation, id: string): Promise<void> {
  if (!open.has(conversation.record.peek().id)) return;
  await persist(() => database.saveMessage(conversation.message(id).peek()));
}

export async function deleteConversation(id: string): Promise<void> {
  open.get(id)?.running.peek()?.abort();
  open.delete(id);
  conversations.value = conversations.peek().filter((each) => each.id !== id);
  await persist(() => database.removeConversation(id));
}

export async function deleteAllConversations(): Promise<void> {
  for (const conversation of open.values()) conversation.running.peek()?.abort();
  open.clear();
  conversations.value = [];
  await persist(database.removeAll);
}

/** Download conversations as a JSON file. */
export async function exportConversations(ids: string[]): Promise<void> {
  const records = await Promise.all(ids.map((id) => database.readConversation(id)));
  const conversations = records.flatMap((each) => (each ? [{ ...each[0], messages: each[1] }] : []));
  const file = new Blob([JSON.stringify({ format: "baicai-conversations", conversations }, null, 1)], {
    type: "application/json",
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `baicai-${new Date().toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function persist(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    console.error(error);
    storageWorks.value = false;
  }
}
