import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { deleteConversation, exportConversations, storageWorks, conversations } from "../state/history";
import { currentConversation, navigate, view } from "../state/navigation";
import { updateSettings, settings, type Theme } from "../state/settings";
import type { ConversationRecord } from "../state/conversation";
import { t } from "../i18n/translate";
import { confirmAction, settingsOpen } from "./dialogs";
import { Icon } from "./icons";

/** Whether the sidebar is open on a narrow screen, where it covers the page. */
export const sidebarOpen = signal(false);

export function Sidebar(): VNode {
  const closing = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (sidebarOpen.value) closing.current?.focus();
  }, [sidebarOpen.value]);
  const close = () => (sidebarOpen.value = false);
  const onClick = (event: MouseEvent) => (event.target as Element).closest("a, .leads") && close();
  const onKeyDown = (event: KeyboardEvent) => event.key === "Escape" && close();
  return (
    <aside class={sidebarOpen.value ? "sidebar open" : "sidebar"} onClick={onClick} onKeyDown={onKeyDown}>
      <div class="brand">
        <a href="#/">
          <b lang="zh-Hans">白菜</b> Baicai
        </a>
        <button ref={closing} class="icon-button narrow" aria-label={t("close")} onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      <nav aria-label={t("menu")}>
        <a class="place" href="#/" aria-current={view.value.name === "chat" && !view.value.conversation ? "page" : undefined}>
          {t("newChat")}
        </a>
        {(["models", "runs", "data"] as const).map((name) => (
          <a key={name} class="place" href={`#/${name}`} aria-current={view.value.name === name ? "page" : undefined}>
            {t(name)}
          </a>
        ))}
      </nav>
      <section class="history" aria-labelledby="history">
        <h2 id="history">{t("history")}</h2>
        {!storageWorks.value && <p class="note">{t("notStored")}</p>}
        {storageWorks.value && !conversations.value.length && <p class="note">{t("historyEmpty")}</p>}
        <ul>
          {conversations.value.map((conversation) => (
            <Entry key={conversation.id} conversation={conversation} />
          ))}
        </ul>
      </section>
      <Switches />
    </aside>
  );
}

function Entry({ conversation }: { conversation: ConversationRecord }): VNode {
  const { id, title } = conversation;
  const here = "conversation" in view.value && view.value.conversation === id;
  const remove = async () => {
    if (!(await confirmAction(t("deleteAsk", { title }), t("delete")))) return;
    await deleteConversation(id);
    if (currentConversation.peek()?.record.peek().id === id) navigate("#/");
  };
  return (
    <li>
      <a class="place" href={`#/chat/${id}`} aria-current={here ? "page" : undefined} title={title}>
        {title}
      </a>
      <button class="icon-button" aria-label={t("exportOne", { title })} onClick={() => void exportConversations([id])}>
        <Icon name="save" />
      </button>
      <button class="icon-button" aria-label={t("deleteOne", { title })} onClick={() => void remove()}>
        <Icon name="trash" />
      </button>
    </li>
  );
}

function Switches(): VNode {
  const { language, theme } = settings.value;
  const themes: Theme[] = ["system", "light", "dark"];
  const next = themes[(themes.indexOf(theme) + 1) % themes.length] as Theme;
  return (
    <div class="switches">
      <button
        class="quiet"
        lang={language === "zh" ? "en" : "zh-Hans"}
        onClick={() => updateSettings({ language: language === "zh" ? "en" : "zh" })}
      >
        {language === "zh" ? "English" : "中文"}
      </button>
      <button class="quiet" aria-label={`${t("theme")}: ${t(theme)}`} onClick={() => updateSettings({ theme: next })}>
        <Icon name="theme" />
        {t(theme)}
      </button>
      <button class="icon-button leads" aria-label={t("settings")} onClick={() => (settingsOpen.value = true)}>
        <Icon name="gear" />
      </button>
    </div>
  );
}
