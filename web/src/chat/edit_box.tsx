import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { say } from "../words/words";
import { sends } from "./keys";

interface Given {
  text: string;
  onSend: (text: string) => void;
  onCancel: () => void;
}

/** A message being changed; sending makes a new branch and leaves the old one as it was. */
export function EditBox({ text, onSend, onCancel }: Given): VNode {
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const send = () => {
    const changed = field.current?.value.trim();
    if (changed) onSend(changed);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") onCancel();
    if (!sends(event)) return;
    event.preventDefault();
    send();
  };
  return (
    <div class="edit">
      <textarea ref={field} rows={2} aria-label={say("editLabel")} defaultValue={text} onKeyDown={onKeyDown} />
      <div class="choices">
        <button class="quiet" onClick={onCancel}>
          {say("cancel")}
        </button>
        <button class="strong" onClick={send}>
          {say("saveEdit")}
        </button>
      </div>
    </div>
  );
}
