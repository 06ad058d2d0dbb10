import type { VNode } from "preact";
import type { RunInfo } from "../api/types";
import type { TextKey } from "../i18n/english";
import { t } from "../i18n/translate";

const STATES = { running: "stateRunning", done: "stateDone", stopped: "stateStopped" } as const;
const STAGES = new Map<string, TextKey>(Object.entries({
  tokenizer: "stageTokenizer",
  trunk: "stageTrunk",
  grow: "stageGrow",
  join: "stageJoin",
  peel: "stagePeel",
  calibrate: "stageCalibrate",
  evaluate: "stageEvaluate",
  import: "stageImport",
}));

/** Return the display name of a stage. */
export function stageOf(stage: string): string {
  const key = STAGES.get(stage);
  return key ? t(key) : stage;
}

export function State({ state }: { state: RunInfo["state"] }): VNode {
  return (
    <span class={`state ${state}`}>
      <i />
      {t(STATES[state])}
    </span>
  );
}
