import { signal } from "@preact/signals";
import * as database from "./database";
import { Talk, type TalkRecord } from "./talk";

/** All conversations, the newest first. */
export const talks = signal<TalkRecord[]>([]);

/** Those opened since the page was loaded; an answer goes on in them while another is looked at. */
const open = new Map<string, Talk>();

/** False once the browser refused to keep something, as some do in private windows. */
export const kept = signal(true);

export async function loadTalks(): Promise<void> {
  await keeping(async () => {
    talks.value = (await database.readTalks()).sort((a, b) => b.updated - a.updated);
  });
}

export function createTalk(firstText: string): Talk {
  const now = Date.now();
  const title = firstText.trim().replace(/\s+/g, " ").slice(0, 80);
  const talk = new Talk({ id: newId(), title, created: now, updated: now, picked: {} });
  open.set(talk.record.peek().id, talk);
  return talk;
}

/** Not `crypto.randomUUID`, which a page has only on https or localhost. */
export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function openTalk(id: string): Promise<Talk | null> {
  const known = open.get(id);
  if (known) return known;
  const stored = await database.readTalk(id);
  if (!stored) return null;
  const [record, messages] = stored;
  // An answer that was being written when the page was closed ended there.
  const ended = messages.map((each) => (each.progress === "writing" ? { ...each, progress: "lost" as const } : each));
  const talk = new Talk(record, ended);
  open.set(id, talk);
  return talk;
}

export async function saveTalk(talk: Talk): Promise<void> {
  const record = talk.record.peek();
  if (!open.has(record.id)) return; // Deleted while its answer was being written.
  talks.value = [record, ...talks.peek().filter(({ id }) => id !== record.id)];
  await keeping(() => database.saveTalk(record));
}

export async function saveMessage(talk: Talk, id: string): Promise<void> {
  if (!open.has(talk.record.peek().id)) return;
  await keeping(() => database.saveMessage(talk.message(id).peek()));
}

export async function deleteTalk(id: string): Promise<void> {
  open.get(id)?.running.peek()?.abort();
  open.delete(id);
  talks.value = talks.peek().filter((each) => each.id !== id);
  await keeping(() => database.removeTalk(id));
}

export async function deleteAllTalks(): Promise<void> {
  for (const talk of open.values()) talk.running.peek()?.abort();
  open.clear();
  talks.value = [];
  await keeping(database.removeAll);
}

/** Save conversations, all or one, as a JSON file. */
export async function exportTalks(ids: string[]): Promise<void> {
  const found = await Promise.all(ids.map((id) => database.readTalk(id)));
  const conversations = found.flatMap((each) => (each ? [{ ...each[0], messages: each[1] }] : []));
  const file = new Blob([JSON.stringify({ format: "baicai-conversations", conversations }, null, 1)], {
    type: "application/json",
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `baicai-${new Date().toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function keeping(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    console.error(error);
    kept.value = false;
  }
}
