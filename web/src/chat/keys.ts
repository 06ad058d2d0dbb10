/** Whether a key press sends the message: Enter without Shift, and not while an input method is composing. */
export function isSendKey(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** Move the focus to the message box. */
export function focusComposer(): void {
  document.getElementById("message")?.focus();
}
