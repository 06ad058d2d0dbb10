import { signal } from "@preact/signals";
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { say } from "../words/words";

interface Question {
  text: string;
  action: string;
  answer: (agreed: boolean) => void;
}

const question = signal<Question | null>(null);
const keyWanted = signal<((key: string | null) => void) | null>(null);
export const settingsOpen = signal(false);

/** Ask before something that cannot be undone. */
export function confirmed(text: string, action: string): Promise<boolean> {
  return new Promise((resolve) => (question.value = { text, action, answer: resolve }));
}

let keyAsked: Promise<string | null> | null = null;

/** Ask for the key of the server; requests that want it at the same time wait for one answer. */
export function askForKey(): Promise<string | null> {
  keyAsked ??= new Promise<string | null>((resolve) => (keyWanted.value = resolve)).finally(() => (keyAsked = null));
  return keyAsked;
}

/** A modal window: the browser keeps the focus inside and closes it on Esc; the focus then returns. */
export function Dialog(given: { title: string; close: () => void; children: ComponentChildren }): VNode {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    element.current?.showModal();
    return () => before?.focus();
  }, []);
  const onBackdrop = (event: MouseEvent) => event.target === element.current && given.close();
  return (
    <dialog ref={element} aria-label={given.title} onClose={given.close} onClick={onBackdrop}>
      <div class="dialog">
        <h2>{given.title}</h2>
        {given.children}
      </div>
    </dialog>
  );
}

export function ConfirmDialog(): VNode | null {
  if (!question.value) return null;
  const { text, action, answer } = question.value;
  const close = (agreed: boolean) => {
    question.value = null;
    answer(agreed);
  };
  return (
    <Dialog title={action} close={() => close(false)}>
      <p>{text}</p>
      <div class="choices">
        <button class="quiet" onClick={() => close(false)}>
          {say("cancel")}
        </button>
        <button class="strong" onClick={() => close(true)}>
          {action}
        </button>
      </div>
    </Dialog>
  );
}

export function KeyDialog(): VNode | null {
  const field = useRef<HTMLInputElement>(null);
  const answer = keyWanted.value;
  if (!answer) return null;
  const close = (key: string | null) => {
    keyWanted.value = null;
    answer(key);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const key = field.current?.value.trim();
    if (key) close(key);
  };
  return (
    <Dialog title={say("keyTitle")} close={() => close(null)}>
      <form onSubmit={submit}>
        <p>{say("keyAbout")}</p>
        <label>
          {say("apiKey")}
          <input ref={field} type="password" autocomplete="off" />
        </label>
        <div class="choices">
          <button type="button" class="quiet" onClick={() => close(null)}>
            {say("cancel")}
          </button>
          <button class="strong">{say("save")}</button>
        </div>
      </form>
    </Dialog>
  );
}
