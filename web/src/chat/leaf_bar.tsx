import type { VNode } from "preact";
import { colours, leaves, leavesOff, switchLeaf } from "../state/models";
import { updateSettings, settings } from "../state/settings";
import { t } from "../i18n/translate";

/** Legend of the leaf colours; each entry turns its leaf on or off. */
export function LeafBar(): VNode | null {
  if (!leaves.value.length) return null;
  const { tint } = settings.value;
  return (
    <div class="leaf-bar">
      <LeafSwitches label={t("leavesFor")} off={leavesOff.value} onSwitch={switchLeaf} />
      <button
        class="leaf toggle"
        role="switch"
        aria-checked={tint}
        aria-label={t("tintHint")}
        title={t("tintHint")}
        onClick={() => updateSettings({ tint: !tint })}
      >
        <i />
        {t("tint")}
      </button>
    </div>
  );
}

interface Props {
  label: string;
  off: Set<string>;
  onSwitch: (name: string) => void;
}

export function LeafSwitches({ label, off, onSwitch }: Props): VNode {
  return (
    <div class="leaves" role="group" aria-label={label}>
      {leaves.value.map(({ name }) => (
        <button
          key={name}
          class="leaf"
          role="switch"
          aria-checked={!off.has(name)}
          style={{ "--leaf": colours.value.get(name) ?? "" }}
          onClick={() => onSwitch(name)}
        >
          <i />
          {name}
        </button>
      ))}
    </div>
  );
}
