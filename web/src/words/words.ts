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
  const compact = { notation: "compact", maximumSignificantDigits: 3 } as const;
  return new Intl.NumberFormat(locale(), count < 10_000 ? {} : compact).format(count);
}

/** Return what was measured, with four digits: 2.315, 0.0001, 1.2e-7. */
export function measure(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 10_000) return large(value);
  return String(Number(value.toPrecision(4)));
}

/** Return by how much something changed: −10.7 %. */
export function change(share: number): string {
  const percents = new Intl.NumberFormat("en", { signDisplay: "exceptZero", maximumFractionDigits: 1 });
  return `${percents.format(100 * share).replace("-", "−")}\u00a0%`;
}

export function size(bytes: number): string {
  const unit = bytes < 1e6 ? "kilobyte" : bytes < 1e9 ? "megabyte" : "gigabyte";
  const scale = { kilobyte: 1e3, megabyte: 1e6, gigabyte: 1e9 }[unit];
  return new Intl.NumberFormat(locale(), { style: "unit", unit, maximumSignificantDigits: 3 }).format(bytes / scale);
}

export function day(iso: string): string {
  const date = new Date(iso);
  const language = settings.value.language === "zh" ? "zh-Hans" : "en-GB"; // The day before the month.
  return Number.isNaN(date.valueOf()) ? iso : new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(date);
}

/** Return how long ago something was, given in seconds since 1970: 5 minutes ago. */
export function ago(seconds: number): string {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  const units = { second: 60, minute: 3600, hour: 86_400, day: Infinity } as const;
  const [unit] = Object.entries(units).find(([, end]) => past < end) as [keyof typeof units, number];
  const length = { second: 1, minute: 60, hour: 3600, day: 86_400 }[unit];
  return new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(-Math.floor(past / length), unit);
}

function locale(): string {
  return settings.value.language === "zh" ? "zh-Hans" : "en";
}
