import type { VNode } from "preact";
import type { Problem } from "../state/problem";
import type { Word } from "../words/english";
import { say } from "../words/words";

const WORDS: Record<Problem["kind"], Word> = {
  busy: "problemBusy",
  connection: "problemConnection",
  key: "problemKey",
  missing: "problemMissing",
  request: "problemRequest",
  server: "problemServer",
  unavailable: "problemUnavailable",
};

/** What went wrong and what to do, in one line. */
export function ProblemLine({ problem, onRetry }: { problem: Problem; onRetry: () => void }): VNode {
  return (
    <p class="problem" role="alert">
      {say(WORDS[problem.kind], { detail: problem.detail })}{" "}
      <button class="link" onClick={onRetry}>
        {say("tryAgain")}
      </button>
    </p>
  );
}
