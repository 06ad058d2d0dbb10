import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "../shell/icons";
import type { Conversation } from "../state/conversation";
import { t } from "../i18n/translate";
import { Row } from "./row";

/** Number of the newest messages in the page; the button at the top adds as many again. */
const WINDOW = 40;
const NEAR_END_PIXELS = 80;

export function Thread({ conversation }: { conversation: Conversation }): VNode {
  const box = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const shown = useSignal(WINDOW);
  const following = useSignal(true);
  const path = conversation.path.value;
  const hidden = Math.max(0, path.length - shown.value);
  const last = path.at(-1);

  const toEnd = () => {
    const element = box.current;
    if (element) element.scrollTop = element.scrollHeight;
  };
  const onScroll = () => {
    const element = box.current;
    if (!element) return;
    following.value = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PIXELS;
  };
  useLayoutEffect(toEnd, []);
  useEffect(() => {
    following.value = true;
    toEnd();
  }, [last]);
  useEffect(() => {
    const observer = new ResizeObserver(() => following.peek() && toEnd());
    if (content.current) observer.observe(content.current);
    return () => observer.disconnect();
  }, []);

  return (
    <div class="thread" ref={box} onScroll={onScroll}>
      <h1 class="hidden">{conversation.record.value.title}</h1>
      <div class="rows" ref={content}>
        {hidden > 0 && (
          <button class="quiet earlier" onClick={() => (shown.value += WINDOW)}>
            {t("earlier", { count: hidden })}
          </button>
        )}
        {path.slice(hidden).map((id) => (
          <Row key={id} conversation={conversation} id={id} last={id === last} />
        ))}
      </div>
      {!following.value && (
        <button class="icon-button latest" aria-label={t("latest")} onClick={toEnd}>
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}
