import type { VNode } from "preact";
import { changeKey } from "../api/client";
import type { Problem } from "../state/problem";
import type { Word } from "../words/english";
import { say } from "../words/words";

const WORDS: Record<Problem["kind"], Word> = {
  busy: "problemBusy",
  connection: "problemConnection",
  key: "problemKey",
  missing: "problemMissing",
  request: "problemRequest",
  scope: "problemScope",
  server: "problemServer",
  unavailable: "problemUnavailable",
};

/** What went wrong and what to do, in one line. */
export function ProblemLine({ problem, onRetry }: { problem: Problem; onRetry: () => void }): VNode {
  const otherKey = async () => (await changeKey()) && onRetry();
  return (
    <p class="problem" role="alert">
      {say(WORDS[problem.kind], { detail: problem.detail })}{" "}
      {problem.kind === "scope" ? (
        <button class="link" onClick={() => void otherKey()}>
          {say("otherKey")}
        </button>
      ) : (
        <button class="link" onClick={onRetry}>
          {say("tryAgain")}
        </button>
      )}
    </p>
  );
}
