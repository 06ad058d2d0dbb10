import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "../shell/icons";
import type { Talk } from "../state/talk";
import { say } from "../words/words";
import { Row } from "./row";

/** So many of the newest messages are in the page; reaching the top brings as many more. */
const WINDOW = 40;
const NEAR_END_PIXELS = 80;

export function Thread({ talk }: { talk: Talk }): VNode {
  const box = useRef<HTMLDivElement>(null);
  const inside = useRef<HTMLDivElement>(null);
  const shown = useSignal(WINDOW);
  const following = useSignal(true);
  const path = talk.path.value;
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
    if (inside.current) observer.observe(inside.current);
    return () => observer.disconnect();
  }, []);

  return (
    <div class="thread" ref={box} onScroll={onScroll}>
      <h1 class="hidden">{talk.record.value.title}</h1>
      <div class="rows" ref={inside}>
        {hidden > 0 && (
          <button class="quiet earlier" onClick={() => (shown.value += WINDOW)}>
            {say("earlier", { count: hidden })}
          </button>
        )}
        {path.slice(hidden).map((id) => (
          <Row key={id} talk={talk} id={id} last={id === last} />
        ))}
      </div>
      {!following.value && (
        <button class="icon-button latest" aria-label={say("latest")} onClick={toEnd}>
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}
