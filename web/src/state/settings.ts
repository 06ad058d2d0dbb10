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
  temperature: 0.8, // as `baicai chat` draws; OpenAI's own default of 1 is too wild for small models
  topP: 0.95,
  maxTokens: null,
  seed: null,
};

export const settings = signal<Settings>({ ...DEFAULTS, ...stored() });

const night = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(night.matches);

/** Whether the page is light or dark; style sheets know by themselves, pictures ask here. */
export const scheme = computed(() => {
  const { theme } = settings.value;
  return theme === "system" ? (systemDark.value ? "dark" : "light") : theme;
});

export function change(changes: Partial<Settings>): void {
  settings.value = { ...settings.value, ...changes };
  localStorage.setItem(STORE, JSON.stringify(settings.value));
}

/** Keep the document's language and theme as the settings say. */
export function followSettings(): void {
  night.addEventListener("change", () => (systemDark.value = night.matches));
  effect(() => {
    const { language, theme } = settings.value;
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    document.documentElement.dataset["theme"] = theme;
  });
}

function stored(): Partial<Settings> {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}") as Partial<Settings>;
  } catch {
    return {}; // Written by hand or by another program: begin anew.
  }
}
