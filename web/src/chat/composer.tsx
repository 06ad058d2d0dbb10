import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../shell/icons";
import { model } from "../state/models";
import { say } from "../words/words";
import { sends } from "./keys";
import { LeafBar } from "./leaf_bar";

interface Given {
  running: AbortController | null;
  onSend: (text: string) => void;
}

export function Composer({ running, onSend }: Given): VNode {
  const field = useRef<HTMLTextAreaElement>(null);
  const blank = useSignal(true);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) field.current?.focus();
  }, []);
  useEffect(() => {
    if (!running) return;
    const stop = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) running.abort();
    };
    addEventListener("keydown", stop);
    return () => removeEventListener("keydown", stop);
  }, [running]);

  const send = () => {
    const text = field.current?.value.trim();
    if (!text || running || !model.value || !field.current) return;
    field.current.value = "";
    blank.value = true;
    onSend(text);
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
          <button class="round" aria-label={say("stop")} onClick={() => running.abort()}>
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
