import type { VNode } from "preact";
import { Chat } from "./chat/chat";
import { focusComposer } from "./chat/keys";
import { WordCard } from "./chat/word_card";
import { Compare } from "./compare/compare";
import { Data } from "./data/data";
import { Release } from "./data/release";
import { Models } from "./models/models";
import { Run } from "./runs/run";
import { Runs } from "./runs/runs";
import { ConfirmDialog, KeyDialog } from "./shell/dialogs";
import { Icon } from "./shell/icons";
import { SettingsDialog } from "./shell/settings";
import { Sidebar, sidebarOpen } from "./shell/sidebar";
import { model, models } from "./state/models";
import { view } from "./state/navigation";
import { updateSettings } from "./state/settings";
import { t } from "./i18n/translate";

export function App(): VNode {
  const { name } = view.value;
  return (
    <>
      {name === "chat" && (
        <a class="skip" href="#message" onClick={skip}>
          {t("skip")}
        </a>
      )}
      <Sidebar />
      <div class="shade" onClick={() => (sidebarOpen.value = false)} />
      <div class="page">
        <Bar />
        <main>
          {name === "chat" && <Chat />}
          {view.value.name === "compare" && <Compare question={view.value.question} />}
          {name === "models" && <Models />}
          {view.value.name === "runs" && (view.value.shown ? <Run key={view.value.shown} id={view.value.shown} /> : <Runs />)}
          {view.value.name === "data" && (view.value.shown ? <Release hash={view.value.shown} /> : <Data />)}
          <WordCard />
        </main>
      </div>
      <SettingsDialog />
      <KeyDialog />
      <ConfirmDialog />
    </>
  );
}

function Bar(): VNode {
  return (
    <header class="bar">
      <button class="icon-button narrow" aria-label={t("menu")} onClick={() => (sidebarOpen.value = true)}>
        <Icon name="menu" />
      </button>
      {models.value.length > 0 && (
        <select
          class="model"
          aria-label={t("model")}
          value={model.value?.id}
          onChange={(event) => updateSettings({ model: event.currentTarget.value })}
        >
          {models.value.map(({ id }) => (
            <option key={id}>{id}</option>
          ))}
        </select>
      )}
      <a class="icon-button narrow" href="#/" aria-label={t("newChat")}>
        <Icon name="plus" />
      </a>
    </header>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  focusComposer();
}
