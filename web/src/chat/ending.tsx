import type { VNode } from "preact";
import type { Draft } from "../state/message";
import { percent, say } from "../words/words";
import { ProblemLine } from "./problem_line";

interface Given {
  draft: Draft;
  /** Absent where an answer cannot be gone on with. */
  onGoOn?: () => void;
  onRetry: () => void;
}

/** How an answer ended, what can be done about that, and what it took. */
export function Ending({ draft, onGoOn, onRetry }: Given): VNode {
  const { progress, problem, text } = draft;
  if (progress === "writing") return <p class="ending">{!text && <span class="pulse" aria-hidden="true" />}</p>;
  if (progress === "failed" && problem) return <ProblemLine problem={problem} onRetry={onRetry} />;
  if (progress === "done") return <Cost draft={draft} />;
  const words = { cut: "cut", lost: "problemLost", stopped: "stopped", failed: "stopped" } as const;
  return (
    <p class="ending" role={progress === "lost" ? "alert" : undefined}>
      {say(words[progress])}{" "}
      {text && onGoOn && (
        <button class="link" onClick={onGoOn}>
          {say("continue")}
        </button>
      )}
    </p>
  );
}

function Cost({ draft: { usage } }: { draft: Draft }): VNode | null {
  if (!usage) return null;
  const facts = [say("tokens", { count: usage.completion_tokens })];
  const { baicai } = usage;
  if (baicai) {
    facts.push(say("usedShare", { share: percent(baicai.active_parameters / baicai.total_parameters) }));
    facts.push(say("usedOperations", { share: percent(baicai.flops / baicai.dense_flops) }));
  }
  return <p class="ending">{facts.join(" · ")}</p>;
}
