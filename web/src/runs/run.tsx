import type { VNode } from "preact";
import { showRun } from "../api/client";
import type { Metrics, Run as RunData } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import type { TextKey } from "../i18n/english";
import { timeAgo, formatNumber, formatPercent, t } from "../i18n/translate";
import { Chart } from "./chart";
import { Heatmap } from "./heatmap";
import { QualityTable } from "./quality";
import { stageOf, State } from "./state";

const EVERY_SECONDS = 3;
const MAX_POINTS = 4000;
/** Metrics with a chart of their own; all others are parts of the loss. */
const SEPARATE = ["learning_rate", "tokens_per_second", "gradient_norm"];
const NAMES = new Map<string, TextKey>(Object.entries({
  loss: "loss",
  next_token: "nextToken",
  source: "sourceLoss",
  recognition: "recognition",
  mtp: "mtp",
  learning_rate: "learningRate",
  tokens_per_second: "tokensPerSecond",
  gradient_norm: "gradientNorm",
}));

/** A run, refreshed while it is on display. */
export function Run({ id }: { id: string }): VNode {
  const { value, problem, reload } = useLoaded<RunData>(id, EVERY_SECONDS, (before) => follow(id, before));
  const run = value.value;
  const cut = id.lastIndexOf("/") + 1;
  return (
    <div class="view">
      <p class="path">
        <a href="#/runs">{t("runs")}</a> / {id.slice(0, cut).replaceAll("/", " / ")}
      </p>
      <h1>{id.slice(cut)}</h1>
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!run && !problem.value && <p class="note">{t("loading")}</p>}
      {run && <About run={run} />}
      {run && <Charts metrics={run.metrics} />}
      {run && Object.keys(run.bits_per_byte).length > 0 && <QualityTable quality={run.bits_per_byte} />}
      {run?.routing && run.routing.leaves.length > 0 && <Heatmap routing={run.routing} />}
      {run?.recipe != null && (
        <details class="recipe">
          <summary>{t("recipe")}</summary>
          <pre tabIndex={0}>{JSON.stringify(run.recipe, null, 2)}</pre>
        </details>
      )}
    </div>
  );
}

function About({ run: { stage, state, last, steps, updated, summary } }: { run: RunData }): VNode {
  const { step, loss } = last;
  const speed = last["tokens_per_second"];
  const retention = summary?.["retention_mean"];
  const tiles: [string | null, string][] = [
    [step === undefined ? null : formatNumber(step), steps === null ? t("step") : t("stepOf", { steps: formatNumber(steps) })],
    [loss === undefined ? null : formatNumber(loss), t("lossLast")],
    [speed === undefined ? null : formatNumber(speed), t("tokensPerSecond")],
    [retention == null ? null : formatPercent(retention), t("retention")],
  ];
  const shown = tiles.filter(([value]) => value !== null);
  return (
    <>
      <p class="lead">
        {stageOf(stage)} <State state={state} /> {timeAgo(updated)}
      </p>
      {step !== undefined && steps !== null && <progress aria-label={t("step")} value={step} max={steps} />}
      {shown.length > 0 && (
        <dl class="tiles">
          {shown.map(([value, text]) => (
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
  const parts = Object.keys(metrics).filter((name) => name !== "step" && !SEPARATE.includes(name));
  return (
    <div class="charts">
      {parts.length > 0 && <Chart title={t("loss")} unit={t("nats")} steps={steps} lines={lines(parts)} />}
      {SEPARATE.filter((name) => name in metrics).map((name) => (
        <Chart key={name} title={nameOf(name)} steps={steps} lines={lines([name])} />
      ))}
    </div>
  );
}

function nameOf(metric: string): string {
  const key = NAMES.get(metric);
  return key ? t(key) : metric;
}

/** Fetch the new steps of a run and append them; reload everything if the run restarted or has too many points. */
async function follow(id: string, before: RunData | null): Promise<RunData> {
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
