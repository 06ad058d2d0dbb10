import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../shell/icons";
import { model } from "../state/models";
import { say } from "../words/words";
import { sends, toComposer } from "./keys";
import { LeafBar } from "./leaf_bar";

interface Given {
  /** Which conversation it writes into; the focus comes along. */
  talk: string | null;
  running: AbortController | null;
  onSend: (text: string) => void;
}

export function Composer({ talk, running, onSend }: Given): VNode {
  const field = useRef<HTMLTextAreaElement>(null);
  const blank = useSignal(true);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) toComposer();
  }, [talk]);
  useEffect(() => {
    if (!running) return;
    const onEscape = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) running.abort();
    };
    addEventListener("keydown", onEscape);
    return () => removeEventListener("keydown", onEscape);
  }, [running]);

  const send = () => {
    const text = field.current?.value.trim();
    if (!text || running || !model.value || !field.current) return;
    field.current.value = "";
    blank.value = true;
    onSend(text);
  };
  const stop = () => {
    running?.abort();
    toComposer();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!sends(event)) return;
    event.preventDefault();
    send();
  };
  return (
    <div class="composer">
      <LeafBar />
      <div class="box">
        <textarea
          id="message"
          ref={field}
          rows={1}
          aria-label={say("message")}
          placeholder={say("messagePlaceholder")}
          onInput={(event) => (blank.value = !event.currentTarget.value.trim())}
          onKeyDown={onKeyDown}
        />
        {running ? (
          <button class="round" aria-label={say("stop")} onClick={stop}>
            <span class="square" />
          </button>
        ) : (
          <button class="round" aria-label={say("send")} disabled={blank.value || !model.value} onClick={send}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </div>
  );
}
