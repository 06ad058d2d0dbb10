import { computed, effect, signal } from "@preact/signals";

export type Language = "en" | "zh";
export type Theme = "system" | "light" | "dark";

export interface Settings {
  language: Language;
  theme: Theme;
  tint: boolean;
  model: string | null;
  leavesOff: string[];
  system: string;
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
  seed: number | null;
}

const STORE = "baicai.settings";
const DEFAULTS: Settings = {
  language: navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en",
  theme: "system",
  tint: true,
  model: null,
  leavesOff: [],
  system: "",
  temperature: 0.8, // As in `baicai chat`; OpenAI's default of 1 is too high for small models.
  topP: 0.95,
  maxTokens: null,
  seed: null,
};

export const settings = signal<Settings>({ ...DEFAULTS, ...readStored() });

const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(darkScheme.matches);

/** The active colour scheme, for canvases; style sheets use light-dark(). */
export const scheme = computed(() => {
  const { theme } = settings.value;
  return theme === "system" ? (systemDark.value ? "dark" : "light") : theme;
});

export function updateSettings(changes: Partial<Settings>): void {
  settings.value = { ...settings.value, ...changes };
  localStorage.setItem(STORE, JSON.stringify(settings.value));
}

/** Apply the language and the theme to the document whenever they change. */
export function applySettings(): void {
  darkScheme.addEventListener("change", () => (systemDark.value = darkScheme.matches));
  effect(() => {
    const { language, theme } = settings.value;
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    document.documentElement.dataset["theme"] = theme;
  });
}

function readStored(): Partial<Settings> {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}") as Partial<Settings>;
  } catch {
    return {}; // Not valid JSON: start from the defaults.
  }
}
