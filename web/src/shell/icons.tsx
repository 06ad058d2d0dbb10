import type { VNode } from "preact";

const PATHS = {
  menu: "M3 5h14M3 10h14M3 15h14",
  plus: "M10 4v12M4 10h12",
  send: "M10 16V4M5 9l5-5 5 5",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  save: "M10 3v9M6 8.5l4 4 4-4M4 16h12",
  gear: "M3 6h7m4 0h3M3 14h3m4 0h7M12 4v4M8 12v4",
  theme: "M10 3.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13v13",
  close: "M5 5l10 10M15 5L5 15",
  down: "M10 4v12M5 11l5 5 5-5",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
};

export function Icon({ name }: { name: keyof typeof PATHS }): VNode {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
