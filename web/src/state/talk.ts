import { computed, signal, type Signal } from "@preact/signals";
import type { Message } from "./message";

export interface TalkRecord {
  id: string;
  title: string;
  created: number;
  updated: number;
  /** The child that is shown of a message ("" for the beginning); where none is named, the last. */
  picked: Record<string, string>;
}

/**
 * A conversation: a tree of messages, of which one path is shown.
 *
 * Each message is a signal of its own, so that a token redraws one row; `path` changes only with the tree's shape.
 */
export class Talk {
  readonly record: Signal<TalkRecord>;
  readonly running = signal<AbortController | null>(null);
  private readonly messages = new Map<string, Signal<Message>>();
  private readonly children = new Map<string, string[]>();
  private readonly shape = signal(0);

  /** Messages come in the order in which they were made. */
  constructor(record: TalkRecord, messages: Message[] = []) {
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
    const found = this.messages.get(id);
    if (!found) throw new Error(`no message ${id} in conversation ${this.record.peek().id}`);
    return found;
  }

  has(id: string): boolean {
    return this.messages.has(id);
  }

  /** Return the messages that stand at the same place, in the order in which they were made. */
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

  /** Return the messages from the first to this one. */
  upTo(id: string): Message[] {
    const line: Message[] = [];
    for (let at: string | null = id; at; at = line[0]?.parent ?? null) line.unshift(this.message(at).peek());
    return line;
  }

  all(): Message[] {
    return [...this.messages.values()].map((message) => message.peek());
  }

  get size(): number {
    return this.messages.size;
  }

  private put(message: Message): Signal<Message> {
    const kept = signal(message);
    this.messages.set(message.id, kept);
    const place = message.parent ?? "";
    this.children.set(place, [...(this.children.get(place) ?? []), message.id]);
    return kept;
  }

  private shownChild(id: string): string | undefined {
    const children = this.children.get(id) ?? [];
    const picked = this.record.peek().picked[id];
    return picked && children.includes(picked) ? picked : children.at(-1);
  }
}
