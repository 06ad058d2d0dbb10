import { settings } from "../state/settings";
import { chinese } from "./chinese";
import { english, type Word } from "./english";

/** Return what the page says, in the reader's language, with `{names}` filled in. */
export function say(word: Word, values: Record<string, string | number> = {}): string {
  const text = settings.value.language === "zh" ? chinese[word] : english[word];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

export function percent(share: number): string {
  const digits = share > 0 && share < 0.0995 ? 1 : 0;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

/** Return a count as people say it: 1,024, 15.9M, 1590万. */
export function large(count: number): string {
  const language = settings.value.language === "zh" ? "zh-Hans" : "en";
  const compact = { notation: "compact", maximumSignificantDigits: 3 } as const;
  return new Intl.NumberFormat(language, count < 10_000 ? {} : compact).format(count);
}
