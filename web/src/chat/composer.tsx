import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../shell/icons";
import { model } from "../state/models";
import { t } from "../i18n/translate";
import { isSendKey, focusComposer } from "./keys";
import { LeafBar } from "./leaf_bar";

interface Props {
  /** Conversation that it sends to; a change moves the focus here. */
  conversation: string | null;
  running: AbortController | null;
  onSend: (text: string) => void;
}

export function Composer({ conversation, running, onSend }: Props): VNode {
  const field = useRef<HTMLTextAreaElement>(null);
  const blank = useSignal(true);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) focusComposer();
  }, [conversation]);
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
    focusComposer();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!isSendKey(event)) return;
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
          aria-label={t("message")}
          placeholder={t("messagePlaceholder")}
          onInput={(event) => (blank.value = !event.currentTarget.value.trim())}
          onKeyDown={onKeyDown}
        />
        {running ? (
          <button class="round" aria-label={t("stop")} onClick={stop}>
            <span class="square" />
          </button>
        ) : (
          <button class="round" aria-label={t("send")} disabled={blank.value || !model.value} onClick={send}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </div>
  );
}
