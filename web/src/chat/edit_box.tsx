import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n/translate";
import { isSendKey } from "./keys";

interface Props {
  text: string;
  onSend: (text: string) => void;
  onCancel: () => void;
}

/** Editor of a sent message; sending creates a new branch and keeps the old one. */
export function EditBox({ text, onSend, onCancel }: Props): VNode {
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const send = () => {
    const changed = field.current?.value.trim();
    if (changed) onSend(changed);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") onCancel();
    if (!isSendKey(event)) return;
    event.preventDefault();
    send();
  };
  return (
    <div class="edit">
      <textarea ref={field} rows={2} aria-label={t("editLabel")} defaultValue={text} onKeyDown={onKeyDown} />
      <div class="choices">
        <button class="quiet" onClick={onCancel}>
          {t("cancel")}
        </button>
        <button class="strong" onClick={send}>
          {t("saveEdit")}
        </button>
      </div>
    </div>
  );
}
