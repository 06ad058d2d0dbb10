import type { VNode } from "preact";
import { listRuns } from "../api/client";
import type { RunInfo } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import { timeAgo, formatNumber, t } from "../i18n/translate";
import { State, stageOf } from "./state";

const EVERY_SECONDS = 5;

export function Runs(): VNode {
  const { value, problem, reload } = useLoaded("runs", EVERY_SECONDS, listRuns);
  const runs = value.value;
  return (
    <div class="view">
      <h1>{t("runs")}</h1>
      <p class="lead">{t("runsAbout")}</p>
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!runs && !problem.value && <p class="note">{t("loading")}</p>}
      {runs?.length === 0 && (
        <p class="note">
          {t("runsNone")} <code>baicai serve MODEL runs_dir=FOLDER</code>
        </p>
      )}
      {runs && runs.length > 0 && <List runs={runs} />}
    </div>
  );
}

function List({ runs }: { runs: RunInfo[] }): VNode {
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col">{t("run")}</th>
          <th scope="col">{t("state")}</th>
          <th scope="col" class="figure">
            {t("step")}
          </th>
          <th scope="col" class="figure">
            {t("loss")}
          </th>
          <th scope="col" class="figure spare">
            {t("updated")}
          </th>
        </tr>
      </thead>
      <tbody>
        {runs.map((run) => (
          <Row key={run.id} run={run} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ run: { id, stage, state, last, steps, updated } }: { run: RunInfo }): VNode {
  const cut = id.lastIndexOf("/") + 1;
  const { step, loss } = last;
  return (
    <tr>
      <th scope="row">
        <a href={`#/runs/${encodeURIComponent(id)}`}>{id.slice(cut)}</a>
        <span>
          {stageOf(stage)}
          {cut > 0 && ` · ${id.slice(0, cut - 1)}`}
        </span>
      </th>
      <td>
        <State state={state} />
      </td>
      <td class="figure">
        {step !== undefined && formatNumber(step)}
        {step !== undefined && steps !== null && step < steps && <span> / {formatNumber(steps)}</span>}
      </td>
      <td class="figure">{loss !== undefined && loss.toFixed(3)}</td>
      <td class="figure faint spare">{timeAgo(updated)}</td>
    </tr>
  );
}
