import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import UPlot from "uplot";
import { PALETTE } from "../state/models";
import { scheme } from "../state/settings";
import { formatNumber, t } from "../i18n/translate";

const HEIGHT = 230;
/** A smoothed point averages its neighbours within one of this many parts of the line on either side. */
const SMOOTHED_PARTS = 100;

export interface Line {
  name: string;
  label: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  unit?: string;
  steps: number[];
  lines: Line[];
}

/** A line chart over steps. The pointer or the arrow keys read values, dragging zooms in. */
export function Chart({ title, unit, steps, lines }: Props): VNode {
  const container = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const at = useSignal<number | null>(null);
  const names = lines.map(({ name }) => name).join();
  const columns = () => [steps, ...lines.flatMap(({ values }) => [values, smoothed(values)])];
  const data = useMemo(columns, [steps, names]) as UPlot.AlignedData; // Not recomputed when the pointer moves.

  useEffect(() => {
    const element = container.current as HTMLDivElement;
    const created = new UPlot(options(element, lines, (index) => (at.value = index)), data, element);
    const sizes = new ResizeObserver(() => created.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    plot.current = created;
    return () => {
      sizes.disconnect();
      created.destroy();
    };
  }, [names, scheme.value]);
  useEffect(() => plot.current?.setData(data), [data]);

  const shown = Math.min(at.value ?? Infinity, steps.length - 1);
  const onKeyDown = (event: KeyboardEvent) => {
    const target = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: steps.length - 1 }[event.key];
    const step = target === undefined ? undefined : steps[target];
    if (step === undefined) return;
    event.preventDefault();
    plot.current?.setCursor({ left: plot.current.valToPos(step, "x"), top: 0 });
  };
  return (
    <figure class="chart">
      <figcaption>
        {title} {unit && <span>{unit}</span>}
      </figcaption>
      <dl class="readout">
        <div>
          <dt>{t("step")}</dt>
          <dd>{formatNumber(steps[shown] as number)}</dd>
        </div>
        {lines.map(({ name, label, values }, index) => (
          <div key={name} style={{ "--leaf": colour(lines, index) }}>
            <dt>
              <i class="swatch" />
              {label}
            </dt>
            <dd>{values[shown] == null ? "–" : formatNumber(values[shown])}</dd>
          </div>
        ))}
      </dl>
      <div ref={container} class="plot" role="img" tabIndex={0} aria-label={describe(steps, lines)} onKeyDown={onKeyDown} />
    </figure>
  );
}

function describe(steps: number[], lines: Line[]): string {
  const descriptions = lines.map(({ label, values }) => {
    const [first, last] = [values.findIndex((value) => value != null), values.findLastIndex((value) => value != null)];
    const ends = { begin: steps[first] ?? "–", first: values[first] ?? "–", end: steps[last] ?? "–", last: values[last] ?? "–" };
    const numbers = Object.entries(ends).map(([key, value]) => [key, typeof value === "number" ? formatNumber(value) : value]);
    return t("lineAbout", { label, ...Object.fromEntries(numbers) });
  });
  return descriptions.join(" ");
}

/** Average each value with its neighbours, so that noise does not hide the trend of a long line. */
function smoothed(values: (number | null)[]): (number | null)[] {
  const radius = Math.floor(values.length / SMOOTHED_PARTS);
  return values.map((value, at) => {
    const near = values.slice(Math.max(0, at - radius), at + radius + 1).filter((neighbour) => neighbour !== null);
    return value === null ? null : near.reduce((sum, neighbour) => sum + neighbour, 0) / near.length;
  });
}

function colour(lines: Line[], index: number): string {
  return lines.length > 1 ? (PALETTE[index % PALETTE.length] as string) : "var(--accent)";
}

function options(element: HTMLElement, lines: Line[], onPoint: (index: number | null) => void): UPlot.Options {
  const style = getComputedStyle(element);
  const resolve = (value: string) => {
    element.style.color = value; // A canvas cannot use CSS variables or light-dark().
    return style.color;
  };
  const axis: UPlot.Axis = {
    stroke: resolve("var(--faint)"),
    font: `12px ${style.fontFamily}`,
    grid: { stroke: resolve("var(--rule)"), width: 1 },
    ticks: { show: false },
    values: (_, splits) => splits.map((value) => (value === null ? "" : formatNumber(value))),
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 } },
    scales: { x: { time: false } },
    axes: [{ ...axis, grid: { show: false }, size: 28 }, { ...axis, size: 58 }],
    series: [
      {},
      ...lines.flatMap(({ label }, index) => {
        const line = { label, stroke: resolve(colour(lines, index)), width: 1.5, points: { show: false }, spanGaps: true };
        return [{ ...line, alpha: 0.35 }, line];
      }),
    ],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
  };
}
