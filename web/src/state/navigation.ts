import { computed, effect, signal } from "@preact/signals";
import { openTalk } from "./history";
import type { Talk } from "./talk";

/**
 * Where the page is: `#/chat/ID`, `#/compare/ID/QUESTION`, `#/models`, `#/runs/NAME`, `#/data/HASH`, the last two also
 * without what they show of all, or a chat that has not begun.
 */
const address = signal(location.hash);

export const view = computed(() => {
  const [, name, talk, question] = address.value.split("/");
  if (name === "models") return { name } as const;
  if (name === "runs" || name === "data") return { name, shown: decoded(talk ?? "") } as const;
  if (name === "compare" && talk && question) return { name, talk, question } as const;
  return { name: "chat", talk: name === "chat" ? (talk ?? null) : null } as const;
});

const wanted = computed(() => ("talk" in view.value ? view.value.talk : undefined));

/** The conversation that is looked at; null for one that has not begun. */
export const current = signal<Talk | null>(null);

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // Written by hand: there is nothing of that name.
  }
}

export function go(hash: string): void {
  location.hash = hash;
  address.value = location.hash;
}

/** Show a conversation that is open already, without waiting for the database. */
export function enter(talk: Talk): void {
  current.value = talk;
  go(`#/chat/${talk.record.peek().id}`);
}

export function followAddress(): void {
  addEventListener("hashchange", () => (address.value = location.hash));
  effect(() => {
    const id = wanted.value;
    if (id === undefined || id === current.peek()?.record.peek().id) return;
    current.value = null;
    if (id === null) return;
    void openTalk(id).then((talk) => {
      if (wanted.peek() !== id) return;
      if (talk) current.value = talk;
      else go("#/");
    });
  });
}
