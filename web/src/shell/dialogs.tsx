import { signal } from "@preact/signals";
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n/translate";

interface Question {
  text: string;
  action: string;
  answer: (accepted: boolean) => void;
}

const question = signal<Question | null>(null);
const keyResolver = signal<((key: string | null) => void) | null>(null);
export const settingsOpen = signal(false);

/** Ask for confirmation of an action that cannot be undone. */
export function confirmAction(text: string, action: string): Promise<boolean> {
  return new Promise((resolve) => (question.value = { text, action, answer: resolve }));
}

let keyPrompt: Promise<string | null> | null = null;

/** Ask for the API key; concurrent requests share one dialog. */
export function askForKey(): Promise<string | null> {
  keyPrompt ??= new Promise<string | null>((resolve) => (keyResolver.value = resolve)).finally(() => (keyPrompt = null));
  return keyPrompt;
}

/** A modal dialog. The browser traps the focus and closes it on Escape; the focus then returns. */
export function Dialog(props: { title: string; close: () => void; children: ComponentChildren }): VNode {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    element.current?.showModal();
    return () => before?.focus();
  }, []);
  const onBackdrop = (event: MouseEvent) => event.target === element.current && props.close();
  return (
    <dialog ref={element} aria-label={props.title} onClose={props.close} onClick={onBackdrop}>
      <div class="dialog">
        <h2>{props.title}</h2>
        {props.children}
      </div>
    </dialog>
  );
}

export function ConfirmDialog(): VNode | null {
  if (!question.value) return null;
  const { text, action, answer } = question.value;
  const close = (accepted: boolean) => {
    question.value = null;
    answer(accepted);
  };
  return (
    <Dialog title={action} close={() => close(false)}>
      <p>{text}</p>
      <div class="choices">
        <button class="quiet" onClick={() => close(false)}>
          {t("cancel")}
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
  const answer = keyResolver.value;
  if (!answer) return null;
  const close = (key: string | null) => {
    keyResolver.value = null;
    answer(key);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const key = field.current?.value.trim();
    if (key) close(key);
  };
  return (
    <Dialog title={t("keyTitle")} close={() => close(null)}>
      <form onSubmit={submit}>
        <p>{t("keyAbout")}</p>
        <label>
          {t("apiKey")}
          <input ref={field} type="password" autocomplete="off" />
        </label>
        <div class="choices">
          <button type="button" class="quiet" onClick={() => close(null)}>
            {t("cancel")}
          </button>
          <button class="strong">{t("save")}</button>
        </div>
      </form>
    </Dialog>
  );
}
