import type { VNode } from "preact";
import type { RunInfo } from "../api/types";
import type { Word } from "../words/english";
import { say } from "../words/words";

const STATES = { running: "stateRunning", done: "stateDone", stopped: "stateStopped" } as const;
const STAGES = new Map<string, Word>(Object.entries({
  tokenizer: "stageTokenizer",
  trunk: "stageTrunk",
  grow: "stageGrow",
  join: "stageJoin",
  peel: "stagePeel",
  calibrate: "stageCalibrate",
  evaluate: "stageEvaluate",
  import: "stageImport",
}));

/** Return what a run makes or does, by the name of its stage. */
export function stageOf(stage: string): string {
  const word = STAGES.get(stage);
  return word ? say(word) : stage;
}

export function State({ state }: { state: RunInfo["state"] }): VNode {
  return (
    <span class={`state ${state}`}>
      <i />
      {say(STATES[state])}
    </span>
  );
}
