import type { VNode } from "preact";
import type { Draft } from "../state/message";
import { formatPercent, t } from "../i18n/translate";
import { ProblemLine } from "./problem_line";

interface Props {
  draft: Draft;
  /** Absent where an answer cannot be continued. */
  onContinue?: () => void;
  onRetry: () => void;
}

/** The end of an answer: its cost, or why it stopped and a button to continue or retry. */
export function Ending({ draft, onContinue, onRetry }: Props): VNode {
  const { progress, problem, text } = draft;
  if (progress === "writing") return <p class="ending">{!text && <span class="pulse" aria-hidden="true" />}</p>;
  if (progress === "failed" && problem) return <ProblemLine problem={problem} onRetry={onRetry} />;
  if (progress === "done") return <Cost draft={draft} />;
  const texts = { cut: "cut", lost: "problemLost", stopped: "stopped", failed: "stopped" } as const;
  return (
    <p class="ending" role={progress === "lost" ? "alert" : undefined}>
      {t(texts[progress])}{" "}
      {text && onContinue && (
        <button class="link" onClick={onContinue}>
          {t("continue")}
        </button>
      )}
    </p>
  );
}

function Cost({ draft: { usage } }: { draft: Draft }): VNode | null {
  if (!usage) return null;
  const parts = [t("tokens", { count: usage.completion_tokens })];
  const { baicai } = usage;
  if (baicai) {
    parts.push(t("usedShare", { share: formatPercent(baicai.active_parameters / baicai.total_parameters) }));
    parts.push(t("usedOperations", { share: formatPercent(baicai.flops / baicai.dense_flops) }));
  }
  return <p class="ending">{parts.join(" · ")}</p>;
}
