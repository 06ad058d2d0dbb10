import { computed, signal, type Signal } from "@preact/signals";
import type { Message } from "./message";

export interface ConversationRecord {
  id: string;
  title: string;
  created: number;
  updated: number;
  /** For each message ("" for the root), the child on display; the last one by default. */
  picked: Record<string, string>;
}

/**
 * A conversation: a tree of messages, with one path on display.
 *
 * Each message is its own signal, so that a token redraws one row; `path` changes only with the shape of the tree.
 */
export class Conversation {
  readonly record: Signal<ConversationRecord>;
  readonly running = signal<AbortController | null>(null);
  private readonly messages = new Map<string, Signal<Message>>();
  private readonly children = new Map<string, string[]>();
  private readonly shape = signal(0);

  /** `messages` must be in order of creation. */
  constructor(record: ConversationRecord, messages: Message[] = []) {
    this.record = signal(record);
    for (const message of messages) this.put(message);
  }

  readonly path = computed<string[]>(() => {
    this.shape.value;
    const path: string[] = [];
    for (let at = this.shownChild(""); at; at = this.shownChild(at)) path.push(at);
    return path;
  });

  /** Add a message and show it. */
  add(message: Message): Signal<Message> {
    const added = this.put(message);
    this.show(message.id);
    return added;
  }

  message(id: string): Signal<Message> {
    const message = this.messages.get(id);
    if (!message) throw new Error(`no message ${id} in conversation ${this.record.peek().id}`);
    return message;
  }

  has(id: string): boolean {
    return this.messages.has(id);
  }

  /** Return all messages with the same parent, in order of creation. */
  siblings(id: string): string[] {
    this.shape.value;
    return this.children.get(this.message(id).peek().parent ?? "") ?? [];
  }

  show(id: string): void {
    const { parent } = this.message(id).peek();
    const record = this.record.peek();
    this.record.value = { ...record, updated: Date.now(), picked: { ...record.picked, [parent ?? ""]: id } };
    this.shape.value++;
  }

  /** Return the messages from the root to this one. */
  upTo(id: string): Message[] {
    const path: Message[] = [];
    for (let at: string | null = id; at; at = path[0]?.parent ?? null) path.unshift(this.message(at).peek());
    return path;
  }

  all(): Message[] {
    return [...this.messages.values()].map((message) => message.peek());
  }

  get size(): number {
    return this.messages.size;
  }

  private put(message: Message): Signal<Message> {
    const stored = signal(message);
    this.messages.set(message.id, stored);
    const parent = message.parent ?? "";
    this.children.set(parent, [...(this.children.get(parent) ?? []), message.id]);
    return stored;
  }

  private shownChild(id: string): string | undefined {
    const children = this.children.get(id) ?? [];
    const picked = this.record.peek().picked[id];
    return picked && children.includes(picked) ? picked : children.at(-1);
  }
}
