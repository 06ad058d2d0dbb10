import type { VNode } from "preact";
import { showRun } from "../api/client";
import type { Metrics, Run as RunTold } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import type { Word } from "../words/english";
import { ago, measure, percent, say } from "../words/words";
import { Chart } from "./chart";
import { Heatmap } from "./heatmap";
import { QualityTable } from "./quality";
import { stageOf, State } from "./state";

const EVERY_SECONDS = 3;
const MAX_POINTS = 4000;
/** What has a figure of its own; all else that is logged is a part of the loss. */
const APART = ["learning_rate", "tokens_per_second", "gradient_norm"];
const NAMES = new Map<string, Word>(Object.entries({
  loss: "loss",
  next_token: "nextToken",
  source: "sourceLoss",
  recognition: "recognition",
  mtp: "mtp",
  learning_rate: "learningRate",
  tokens_per_second: "tokensPerSecond",
  gradient_norm: "gradientNorm",
}));

/** A run, followed while it is looked at. */
export function Run({ id }: { id: string }): VNode {
  const { value, problem, reload } = useLoaded<RunTold>(id, EVERY_SECONDS, (before) => follow(id, before));
  const run = value.value;
  const cut = id.lastIndexOf("/") + 1;
  return (
    <div class="view">
      <p class="path">
        <a href="#/runs">{say("runs")}</a> / {id.slice(0, cut).replaceAll("/", " / ")}
      </p>
      <h1>{id.slice(cut)}</h1>
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!run && !problem.value && <p class="note">{say("loading")}</p>}
      {run && <About run={run} />}
      {run && <Charts metrics={run.metrics} />}
      {run && Object.keys(run.bits_per_byte).length > 0 && <QualityTable quality={run.bits_per_byte} />}
      {run?.routing && run.routing.leaves.length > 0 && <Heatmap routing={run.routing} />}
      {run?.recipe != null && (
        <details class="recipe">
          <summary>{say("recipe")}</summary>
          <pre tabIndex={0}>{JSON.stringify(run.recipe, null, 2)}</pre>
        </details>
      )}
    </div>
  );
}

function About({ run: { stage, state, last, steps, updated, summary } }: { run: RunTold }): VNode {
  const { step, loss } = last;
  const speed = last["tokens_per_second"];
  const kept = summary?.["retention_mean"];
  const tiles: [string | null, string][] = [
    [step === undefined ? null : measure(step), steps === null ? say("step") : say("stepOf", { steps: measure(steps) })],
    [loss === undefined ? null : measure(loss), say("lossLast")],
    [speed === undefined ? null : measure(speed), say("tokensPerSecond")],
    [kept == null ? null : percent(kept), say("retention")],
  ];
  const known = tiles.filter(([value]) => value !== null);
  return (
    <>
      <p class="lead">
        {stageOf(stage)} <State state={state} /> {ago(updated)}
      </p>
      {step !== undefined && steps !== null && <progress aria-label={say("step")} value={step} max={steps} />}
      {known.length > 0 && (
        <dl class="tiles">
          {known.map(([value, text]) => (
            <div key={text}>
              <dt>{text}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      )}
    </>
  );
}

function Charts({ metrics }: { metrics: Metrics }): VNode | null {
  const steps = (metrics["step"] ?? []) as number[];
  if (steps.length < 2) return null;
  const lines = (names: string[]) =>
    names.map((name) => ({ name, label: nameOf(name), values: metrics[name] as (number | null)[] }));
  const parts = Object.keys(metrics).filter((name) => name !== "step" && !APART.includes(name));
  return (
    <div class="charts">
      {parts.length > 0 && <Chart title={say("loss")} unit={say("nats")} steps={steps} lines={lines(parts)} />}
      {APART.filter((name) => name in metrics).map((name) => (
        <Chart key={name} title={nameOf(name)} steps={steps} lines={lines([name])} />
      ))}
    </div>
  );
}

function nameOf(metric: string): string {
  const word = NAMES.get(metric);
  return word ? say(word) : metric;
}

/** Return a run with what it has logged since, or from its beginning if it was begun anew or there is too much. */
async function follow(id: string, before: RunTold | null): Promise<RunTold> {
  const old = before?.metrics["step"] ?? [];
  const now = await showRun(id, old.at(-1) ?? 0);
  const more = now.metrics["step"] ?? [];
  if (!before || !old.length) return now;
  if (now.created !== before.created || old.length + more.length > MAX_POINTS) return showRun(id, 0);
  if (!more.length) return { ...now, metrics: before.metrics };
  const metrics: Metrics = {};
  for (const name of new Set([...Object.keys(before.metrics), ...Object.keys(now.metrics)])) {
    metrics[name] = [...(before.metrics[name] ?? old.map(() => null)), ...(now.metrics[name] ?? more.map(() => null))];
  }
  return { ...now, metrics };
}
