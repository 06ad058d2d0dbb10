import type { VNode } from "preact";
import { ProblemLine } from "../chat/problem_line";
import { loadModels, models, modelsLoading, modelsProblem } from "../state/models";
import { say } from "../words/words";

/** What stands where models would: why they are not known, that they are awaited, or how to load one. */
export function NoModels(): VNode | null {
  const again = () => void loadModels();
  if (modelsProblem.value) return <ProblemLine problem={modelsProblem.value} onRetry={again} />;
  if (models.value.length) return null;
  if (modelsLoading.value) return <p class="note">{say("loading")}</p>;
  const address = new URL("v1/models", document.baseURI).href;
  return (
    <p class="note">
      {say("modelsNone")}{" "}
      <code>{`curl ${address} -H "Authorization: Bearer $BAICAI_KEY" -d '{"model": "FOLDER"}'`}</code>{" "}
      <button class="link" onClick={again}>
        {say("tryAgain")}
      </button>
    </p>
  );
}
