import type { VNode } from "preact";
import { listRuns } from "../api/client";
import type { RunInfo } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import { ago, measure, say } from "../words/words";
import { State, stageOf } from "./state";

const EVERY_SECONDS = 5;

export function Runs(): VNode {
  const { value, problem, reload } = useLoaded("runs", EVERY_SECONDS, listRuns);
  const runs = value.value;
  return (
    <div class="view">
      <h1>{say("runs")}</h1>
      <p class="lead">{say("runsAbout")}</p>
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!runs && !problem.value && <p class="note">{say("loading")}</p>}
      {runs?.length === 0 && (
        <p class="note">
          {say("runsNone")} <code>baicai serve MODEL runs_dir=FOLDER</code>
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
          <th scope="col">{say("run")}</th>
          <th scope="col">{say("state")}</th>
          <th scope="col" class="figure">
            {say("step")}
          </th>
          <th scope="col" class="figure">
            {say("loss")}
          </th>
          <th scope="col" class="figure spare">
            {say("updated")}
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
        {step !== undefined && measure(step)}
        {step !== undefined && steps !== null && step < steps && <span> / {measure(steps)}</span>}
      </td>
      <td class="figure">{loss !== undefined && loss.toFixed(3)}</td>
      <td class="figure faint spare">{ago(updated)}</td>
    </tr>
  );
}
