import type { VNode } from "preact";
import { colours, leaves, leavesOff, switchLeaf } from "../state/models";
import { change, settings } from "../state/settings";
import { say } from "../words/words";

/** The legend of the tints; each entry switches its leaf. */
export function LeafBar(): VNode | null {
  if (!leaves.value.length) return null;
  const { tint } = settings.value;
  return (
    <div class="leaf-bar">
      <LeafSwitches label={say("leavesFor")} off={leavesOff.value} onSwitch={switchLeaf} />
      <button
        class="leaf toggle"
        role="switch"
        aria-checked={tint}
        aria-label={say("tintHint")}
        title={say("tintHint")}
        onClick={() => change({ tint: !tint })}
      >
        <i />
        {say("tint")}
      </button>
    </div>
  );
}

interface Given {
  label: string;
  off: Set<string>;
  onSwitch: (name: string) => void;
}

export function LeafSwitches({ label, off, onSwitch }: Given): VNode {
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
