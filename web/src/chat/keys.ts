/** Whether a key sends what was typed: Enter, but not with Shift, nor while an input method chooses characters. */
export function sends(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** Move the focus to the message box. */
export function toComposer(): void {
  document.getElementById("message")?.focus();
}
