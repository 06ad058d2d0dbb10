import { computed, effect, signal } from "@preact/signals";
import { openConversation } from "./history";
import type { Conversation } from "./conversation";

/**
 * The page's address: `#/chat/ID`, `#/compare/ID/QUESTION`, `#/models`, `#/runs[/NAME]` or `#/data[/HASH]`.
 *
 * Anything else is a new chat.
 */
const address = signal(location.hash);

export const view = computed(() => {
  const [, name, conversation, question] = address.value.split("/");
  if (name === "models") return { name } as const;
  if (name === "runs" || name === "data") return { name, shown: decode(conversation ?? "") } as const;
  if (name === "compare" && conversation && question) return { name, conversation, question } as const;
  return { name: "chat", conversation: name === "chat" ? (conversation ?? null) : null } as const;
});

const conversationId = computed(() => ("conversation" in view.value ? view.value.conversation : undefined));

/** The conversation on display; null for a new one. */
export const currentConversation = signal<Conversation | null>(null);

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // Typed by hand; nothing has that name.
  }
}

export function navigate(hash: string): void {
  location.hash = hash;
  address.value = location.hash;
}

/** Show a conversation that is already open, without waiting for the database. */
export function showConversation(conversation: Conversation): void {
  currentConversation.value = conversation;
  navigate(`#/chat/${conversation.record.peek().id}`);
}

export function trackAddress(): void {
  addEventListener("hashchange", () => (address.value = location.hash));
  effect(() => {
    const id = conversationId.value;
    if (id === undefined || id === currentConversation.peek()?.record.peek().id) return;
    currentConversation.value = null;
    if (id === null) return;
    void openConversation(id).then((conversation) => {
      if (conversationId.peek() !== id) return;
      if (conversation) currentConversation.value = conversation;
      else navigate("#/");
    });
  });
}
