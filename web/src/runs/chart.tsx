import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import UPlot from "uplot";
import { PALETTE } from "../state/models";
import { scheme } from "../state/settings";
import { measure, say } from "../words/words";

const HEIGHT = 230;
/** A point of a smoothed line stands for two of so many parts of it. */
const SMOOTHED_PARTS = 100;

export interface Line {
  name: string;
  label: string;
  values: (number | null)[];
}

interface Given {
  title: string;
  unit?: string;
  steps: number[];
  lines: Line[];
}

/** Lines over steps; the pointer or the arrow keys read them, and dragging looks closer. */
export function Chart({ title, unit, steps, lines }: Given): VNode {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const at = useSignal<number | null>(null);
  const names = lines.map(({ name }) => name).join();
  const columns = () => [steps, ...lines.flatMap(({ values }) => [values, smoothed(values)])];
  const data = useMemo(columns, [steps, names]) as UPlot.AlignedData; // Not with each move of the pointer.

  useEffect(() => {
    const element = place.current as HTMLDivElement;
    const made = new UPlot(options(element, lines, (index) => (at.value = index)), data, element);
    const sizes = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    plot.current = made;
    return () => {
      sizes.disconnect();
      made.destroy();
    };
  }, [names, scheme.value]);
  useEffect(() => plot.current?.setData(data), [data]);

  const shown = Math.min(at.value ?? Infinity, steps.length - 1);
  const onKeyDown = (event: KeyboardEvent) => {
    const goes = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: steps.length - 1 }[event.key];
    const step = goes === undefined ? undefined : steps[goes];
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
          <dt>{say("step")}</dt>
          <dd>{measure(steps[shown] as number)}</dd>
        </div>
        {lines.map(({ name, label, values }, place) => (
          <div key={name} style={{ "--leaf": colour(lines, place) }}>
            <dt>
              <i class="swatch" />
              {label}
            </dt>
            <dd>{values[shown] == null ? "–" : measure(values[shown])}</dd>
          </div>
        ))}
      </dl>
      <div ref={place} class="plot" role="img" tabIndex={0} aria-label={inWords(steps, lines)} onKeyDown={onKeyDown} />
    </figure>
  );
}

function inWords(steps: number[], lines: Line[]): string {
  const told = lines.map(({ label, values }) => {
    const [first, last] = [values.findIndex((value) => value != null), values.findLastIndex((value) => value != null)];
    const ends = { begin: steps[first] ?? "–", first: values[first] ?? "–", end: steps[last] ?? "–", last: values[last] ?? "–" };
    const numbers = Object.entries(ends).map(([key, value]) => [key, typeof value === "number" ? measure(value) : value]);
    return say("lineAbout", { label, ...Object.fromEntries(numbers) });
  });
  return told.join(" ");
}

/** Return means of neighbours: what single steps do hides where a long line goes. */
function smoothed(values: (number | null)[]): (number | null)[] {
  const reach = Math.floor(values.length / SMOOTHED_PARTS);
  return values.map((value, at) => {
    const near = values.slice(Math.max(0, at - reach), at + reach + 1).filter((one) => one !== null);
    return value === null ? null : near.reduce((sum, one) => sum + one, 0) / near.length;
  });
}

function colour(lines: Line[], place: number): string {
  return lines.length > 1 ? (PALETTE[place % PALETTE.length] as string) : "var(--accent)";
}

function options(element: HTMLElement, lines: Line[], onPoint: (index: number | null) => void): UPlot.Options {
  const look = getComputedStyle(element);
  const ink = (value: string) => {
    element.style.color = value; // A canvas knows no variables, and not whether it is dark.
    return look.color;
  };
  const axis: UPlot.Axis = {
    stroke: ink("var(--faint)"),
    font: `12px ${look.fontFamily}`,
    grid: { stroke: ink("var(--rule)"), width: 1 },
    ticks: { show: false },
    values: (_, splits) => splits.map((value) => (value === null ? "" : measure(value))),
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
      ...lines.flatMap(({ label }, place) => {
        const line = { label, stroke: ink(colour(lines, place)), width: 1.5, points: { show: false }, spanGaps: true };
        return [{ ...line, alpha: 0.35 }, line];
      }),
    ],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
  };
}
