import type { Message } from "./message";
import type { ConversationRecord } from "./conversation";

/** Conversations in IndexedDB: one record each, and one for each message, so that a new token rewrites one message. */
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

function resultOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function stores(mode: IDBTransactionMode): Promise<{ talks: IDBObjectStore; messages: IDBObjectStore }> {
  const transaction = (await database()).transaction(["talks", "messages"], mode);
  return { talks: transaction.objectStore("talks"), messages: transaction.objectStore("messages") };
}

export async function readConversations(): Promise<ConversationRecord[]> {
  return resultOf((await stores("readonly")).talks.getAll());
}

/** Return a conversation and its messages in order of creation. */
export async function readConversation(id: string): Promise<[ConversationRecord, Message[]] | null> {
  const { talks, messages } = await stores("readonly");
  const [record, messagesFound] = await Promise.all([resultOf(talks.get(id)), resultOf(messages.index("talk").getAll(id))]);
  return record ? [record as ConversationRecord, (messagesFound as Message[]).sort((a, b) => a.order - b.order)] : null;
}

export async function saveConversation(record: ConversationRecord): Promise<void> {
  await resultOf((await stores("readwrite")).talks.put(record));
}

export async function saveMessage(message: Message): Promise<void> {
  await resultOf((await stores("readwrite")).messages.put(message));
}

export async function removeConversation(id: string): Promise<void> {
  const { talks, messages } = await stores("readwrite");
  const keys = await resultOf(messages.index("talk").getAllKeys(id));
  for (const key of keys) messages.delete(key);
  await resultOf(talks.delete(id));
}

export async function removeAll(): Promise<void> {
  const { talks, messages } = await stores("readwrite");
  messages.clear();
  await resultOf(talks.clear());
}
