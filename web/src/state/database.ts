import type { Message } from "./message";
import type { TalkRecord } from "./talk";

/** Conversations in the browser: one record for each, and one for each message, so that a token writes one. */
let opened: Promise<IDBDatabase> | undefined;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("baicai", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("talks", { keyPath: "id" });
      request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("talk", "talk");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function stores(mode: IDBTransactionMode): Promise<{ talks: IDBObjectStore; messages: IDBObjectStore }> {
  const transaction = (await database()).transaction(["talks", "messages"], mode);
  return { talks: transaction.objectStore("talks"), messages: transaction.objectStore("messages") };
}

export async function readTalks(): Promise<TalkRecord[]> {
  return done((await stores("readonly")).talks.getAll());
}

/** Return a conversation and its messages in the order in which they were made. */
export async function readTalk(id: string): Promise<[TalkRecord, Message[]] | null> {
  const { talks, messages } = await stores("readonly");
  const [record, found] = await Promise.all([done(talks.get(id)), done(messages.index("talk").getAll(id))]);
  return record ? [record as TalkRecord, (found as Message[]).sort((a, b) => a.order - b.order)] : null;
}

export async function saveTalk(record: TalkRecord): Promise<void> {
  await done((await stores("readwrite")).talks.put(record));
}

export async function saveMessage(message: Message): Promise<void> {
  await done((await stores("readwrite")).messages.put(message));
}

export async function removeTalk(id: string): Promise<void> {
  const { talks, messages } = await stores("readwrite");
  const keys = await done(messages.index("talk").getAllKeys(id));
  for (const key of keys) messages.delete(key);
  await done(talks.delete(id));
}

export async function removeAll(): Promise<void> {
  const { talks, messages } = await stores("readwrite");
  messages.clear();
  await done(talks.clear());
}
