import type { VNode } from "preact";
import { deleteAllConversations, exportConversations, conversations } from "../state/history";
import { navigate } from "../state/navigation";
import { updateSettings, settings, type Language, type Settings, type Theme } from "../state/settings";
import { t } from "../i18n/translate";
import { confirmAction, Dialog, settingsOpen } from "./dialogs";

export function SettingsDialog(): VNode | null {
  if (!settingsOpen.value) return null;
  const close = () => (settingsOpen.value = false);
  const { language, theme, system } = settings.value;
  return (
    <Dialog title={t("settings")} close={close}>
      <div class="pair">
        <label>
          {t("language")}
          <select value={language} onChange={(e) => updateSettings({ language: e.currentTarget.value as Language })}>
            <option value="en">English</option>
            <option value="zh">中文</option>
          </select>
        </label>
        <label>
          {t("theme")}
          <select value={theme} onChange={(e) => updateSettings({ theme: e.currentTarget.value as Theme })}>
            <option value="system">{t("system")}</option>
            <option value="light">{t("light")}</option>
            <option value="dark">{t("dark")}</option>
          </select>
        </label>
      </div>
      <label>
        {t("systemPrompt")}
        <textarea
          rows={3}
          value={system}
          placeholder={t("systemPromptHint")}
          onInput={(e) => updateSettings({ system: e.currentTarget.value })}
        />
      </label>
      <fieldset>
        <legend>{t("sampling")}</legend>
        <div class="pair">
          <NumberField name="temperature" label={t("temperature")} max={2} step={0.1} />
          <NumberField name="topP" label={t("topP")} max={1} step={0.05} />
          <NumberField name="maxTokens" label={t("maxTokens")} min={1} step={1} />
          <NumberField name="seed" label={t("seed")} step={1} />
        </div>
      </fieldset>
      <fieldset>
        <legend>{t("history")}</legend>
        <div class="choices start">
          <button class="quiet" disabled={!conversations.value.length} onClick={() => void exportAll()}>
            {t("exportAll")}
          </button>
          <button class="quiet" disabled={!conversations.value.length} onClick={() => void deleteAll()}>
            {t("deleteAll")}
          </button>
        </div>
      </fieldset>
      <div class="choices">
        <button class="strong" onClick={close}>
          {t("close")}
        </button>
      </div>
    </Dialog>
  );
}

interface NumberFieldProps {
  name: "temperature" | "topP" | "maxTokens" | "seed";
  label: string;
  min?: number;
  max?: number;
  step: number;
}

/** Number field; empty means the server's default. Values out of range are not saved. */
function NumberField({ name, label, min = 0, max, step }: NumberFieldProps): VNode {
  const read = (field: HTMLInputElement) => {
    if (field.validity.rangeUnderflow || field.validity.rangeOverflow || field.validity.badInput) return;
    updateSettings({ [name]: field.value === "" ? null : field.valueAsNumber } as Partial<Settings>);
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
        placeholder={t("modelDefault")}
        onInput={(event) => read(event.currentTarget)}
      />
    </label>
  );
}

async function exportAll(): Promise<void> {
  await exportConversations(conversations.value.map(({ id }) => id));
}

async function deleteAll(): Promise<void> {
  if (!(await confirmAction(t("deleteAllAsk"), t("deleteAll")))) return;
  await deleteAllConversations();
  settingsOpen.value = false;
  navigate("#/");
}
