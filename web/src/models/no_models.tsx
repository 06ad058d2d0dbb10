import type { VNode } from "preact";
import { ProblemLine } from "../chat/problem_line";
import { loadModels, models, modelsLoading, modelsProblem } from "../state/models";
import { t } from "../i18n/translate";

/** Placeholder while no model is available: the error, the loading state, or how to load one. */
export function NoModels(): VNode | null {
  const retry = () => void loadModels();
  if (modelsProblem.value) return <ProblemLine problem={modelsProblem.value} onRetry={retry} />;
  if (models.value.length) return null;
  if (modelsLoading.value) return <p class="note">{t("loading")}</p>;
  const address = new URL("v1/models", document.baseURI).href;
  return (
    <p class="note">
      {t("modelsNone")}{" "}
      <code>{`curl ${address} -H "Authorization: Bearer $BAICAI_KEY" -d '{"model": "FOLDER"}'`}</code>{" "}
      <button class="link" onClick={retry}>
        {t("tryAgain")}
      </button>
    </p>
  );
}
