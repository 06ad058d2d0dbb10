import { settings } from "../state/settings";
import { chinese } from "./chinese";
import { english, type TextKey } from "./english";

/** Return a text of the page in the user's language, with its `{placeholders}` filled in. */
export function t(key: TextKey, values: Record<string, string | number> = {}): string {
  const text = settings.value.language === "zh" ? chinese[key] : english[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

export function formatPercent(share: number): string {
  const digits = share > 0 && share < 0.0995 ? 1 : 0;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

/** Format a count: 1,024, 15.9M, 1590万. */
export function formatCount(count: number): string {
  const compact = { notation: "compact", maximumSignificantDigits: 3 } as const;
  return new Intl.NumberFormat(locale(), count < 10_000 ? {} : compact).format(count);
}

/** Format a measured value with four significant digits: 2.315, 0.0001, 1.2e-7. */
export function formatNumber(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 10_000) return formatCount(value);
  return String(Number(value.toPrecision(4)));
}

/** Format a relative change: −10.7 %. */
export function formatChange(share: number): string {
  const percents = new Intl.NumberFormat("en", { signDisplay: "exceptZero", maximumFractionDigits: 1 });
  return `${percents.format(100 * share).replace("-", "−")}\u00a0%`;
}

export function formatBytes(bytes: number): string {
  const unit = bytes < 1e6 ? "kilobyte" : bytes < 1e9 ? "megabyte" : "gigabyte";
  const scale = { kilobyte: 1e3, megabyte: 1e6, gigabyte: 1e9 }[unit];
  return new Intl.NumberFormat(locale(), { style: "unit", unit, maximumSignificantDigits: 3 }).format(bytes / scale);
}

export function formatDate(iso: string): string {
  const date = new Date(iso);
  const language = settings.value.language === "zh" ? "zh-Hans" : "en-GB"; // Day before month.
  return Number.isNaN(date.valueOf()) ? iso : new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(date);
}

/** Format a time, in seconds since 1970, relative to now: 5 minutes ago. */
export function timeAgo(seconds: number): string {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  const units = { second: 60, minute: 3600, hour: 86_400, day: Infinity } as const;
  const [unit] = Object.entries(units).find(([, end]) => past < end) as [keyof typeof units, number];
  const length = { second: 1, minute: 60, hour: 3600, day: 86_400 }[unit];
  return new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(-Math.floor(past / length), unit);
}

function locale(): string {
  return settings.value.language === "zh" ? "zh-Hans" : "en";
}
