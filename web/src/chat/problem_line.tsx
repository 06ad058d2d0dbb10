import type { VNode } from "preact";
import { changeKey } from "../api/client";
import type { Problem } from "../state/problem";
import type { TextKey } from "../i18n/english";
import { t } from "../i18n/translate";

const TEXTS: Record<Problem["kind"], TextKey> = {
  busy: "problemBusy",
  connection: "problemConnection",
  key: "problemKey",
  missing: "problemMissing",
  request: "problemRequest",
  scope: "problemScope",
  server: "problemServer",
  unavailable: "problemUnavailable",
};

/** One line that says what went wrong and what to do. */
export function ProblemLine({ problem, onRetry }: { problem: Problem; onRetry: () => void }): VNode {
  const tryOtherKey = async () => (await changeKey()) && onRetry();
  return (
    <p class="problem" role="alert">
      {t(TEXTS[problem.kind], { detail: problem.detail })}{" "}
      {problem.kind === "scope" ? (
        <button class="link" onClick={() => void tryOtherKey()}>
          {t("otherKey")}
        </button>
      ) : (
        <button class="link" onClick={onRetry}>
          {t("tryAgain")}
        </button>
      )}
    </p>
  );
}
