import type { VNode } from "preact";
import { deleteAllTalks, exportTalks, talks } from "../state/history";
import { go } from "../state/navigation";
import { change, settings, type Language, type Settings, type Theme } from "../state/settings";
import { say } from "../words/words";
import { confirmed, Dialog, settingsOpen } from "./dialogs";

export function SettingsDialog(): VNode | null {
  if (!settingsOpen.value) return null;
  const close = () => (settingsOpen.value = false);
  const { language, theme, system } = settings.value;
  return (
    <Dialog title={say("settings")} close={close}>
      <div class="pair">
        <label>
          {say("language")}
          <select value={language} onChange={(e) => change({ language: e.currentTarget.value as Language })}>
            <option value="en">English</option>
            <option value="zh">中文</option>
          </select>
        </label>
        <label>
          {say("theme")}
          <select value={theme} onChange={(e) => change({ theme: e.currentTarget.value as Theme })}>
            <option value="system">{say("system")}</option>
            <option value="light">{say("light")}</option>
            <option value="dark">{say("dark")}</option>
          </select>
        </label>
      </div>
      <label>
        {say("systemPrompt")}
        <textarea
          rows={3}
          value={system}
          placeholder={say("systemPromptHint")}
          onInput={(e) => change({ system: e.currentTarget.value })}
        />
      </label>
      <fieldset>
        <legend>{say("sampling")}</legend>
        <div class="pair">
          <Figure name="temperature" label={say("temperature")} max={2} step={0.1} />
          <Figure name="topP" label={say("topP")} max={1} step={0.05} />
          <Figure name="maxTokens" label={say("maxTokens")} min={1} step={1} />
          <Figure name="seed" label={say("seed")} step={1} />
        </div>
      </fieldset>
      <fieldset>
        <legend>{say("history")}</legend>
        <div class="choices start">
          <button class="quiet" disabled={!talks.value.length} onClick={() => void exportAll()}>
            {say("exportAll")}
          </button>
          <button class="quiet" disabled={!talks.value.length} onClick={() => void deleteAll()}>
            {say("deleteAll")}
          </button>
        </div>
      </fieldset>
      <div class="choices">
        <button class="strong" onClick={close}>
          {say("close")}
        </button>
      </div>
    </Dialog>
  );
}

interface FigureGiven {
  name: "temperature" | "topP" | "maxTokens" | "seed";
  label: string;
  min?: number;
  max?: number;
  step: number;
}

/** A number, or nothing for what the model has; kept only while it is one that the API takes. */
function Figure({ name, label, min = 0, max, step }: FigureGiven): VNode {
  const read = (field: HTMLInputElement) => {
    if (field.validity.rangeUnderflow || field.validity.rangeOverflow || field.validity.badInput) return;
    change({ [name]: field.value === "" ? null : field.valueAsNumber } as Partial<Settings>);
  };
  return (
    <label>
      {label}
      <input
        type="number"
        inputMode="decimal"
        min={min}
        max={max}
        step={step}
        value={settings.value[name] ?? ""}
        placeholder={say("modelDefault")}
        onInput={(event) => read(event.currentTarget)}
      />
    </label>
  );
}

async function exportAll(): Promise<void> {
  await exportTalks(talks.value.map(({ id }) => id));
}

async function deleteAll(): Promise<void> {
  if (!(await confirmed(say("deleteAllAsk"), say("deleteAll")))) return;
  await deleteAllTalks();
  settingsOpen.value = false;
  go("#/");
}
