import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { deleteTalk, exportTalks, kept, talks } from "../state/history";
import { current, go, view } from "../state/navigation";
import { change, settings, type Theme } from "../state/settings";
import type { TalkRecord } from "../state/talk";
import { say } from "../words/words";
import { confirmed, settingsOpen } from "./dialogs";
import { Icon } from "./icons";

/** On a narrow screen the sidebar lies over the page, and only when it is asked for. */
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
        <button ref={closing} class="icon-button narrow" aria-label={say("close")} onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      <nav aria-label={say("menu")}>
        <a class="place" href="#/" aria-current={view.value.name === "chat" && !view.value.talk ? "page" : undefined}>
          {say("newChat")}
        </a>
        {(["models", "runs", "data"] as const).map((name) => (
          <a key={name} class="place" href={`#/${name}`} aria-current={view.value.name === name ? "page" : undefined}>
            {say(name)}
          </a>
        ))}
      </nav>
      <section class="history" aria-labelledby="history">
        <h2 id="history">{say("history")}</h2>
        {!kept.value && <p class="note">{say("notKept")}</p>}
        {kept.value && !talks.value.length && <p class="note">{say("historyEmpty")}</p>}
        <ul>
          {talks.value.map((talk) => (
            <Entry key={talk.id} talk={talk} />
          ))}
        </ul>
      </section>
      <Switches />
    </aside>
  );
}

function Entry({ talk }: { talk: TalkRecord }): VNode {
  const { id, title } = talk;
  const here = "talk" in view.value && view.value.talk === id;
  const remove = async () => {
    if (!(await confirmed(say("deleteAsk", { title }), say("delete")))) return;
    await deleteTalk(id);
    if (current.peek()?.record.peek().id === id) go("#/");
  };
  return (
    <li>
      <a class="place" href={`#/chat/${id}`} aria-current={here ? "page" : undefined} title={title}>
        {title}
      </a>
      <button class="icon-button" aria-label={say("exportOne", { title })} onClick={() => void exportTalks([id])}>
        <Icon name="save" />
      </button>
      <button class="icon-button" aria-label={say("deleteOne", { title })} onClick={() => void remove()}>
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
        onClick={() => change({ language: language === "zh" ? "en" : "zh" })}
      >
        {language === "zh" ? "English" : "中文"}
      </button>
      <button class="quiet" aria-label={`${say("theme")}: ${say(theme)}`} onClick={() => change({ theme: next })}>
        <Icon name="theme" />
        {say(theme)}
      </button>
      <button class="icon-button leads" aria-label={say("settings")} onClick={() => (settingsOpen.value = true)}>
        <Icon name="gear" />
      </button>
    </div>
  );
}
