import type { VNode } from "preact";
import type { Quality } from "../api/types";
import { paint } from "../state/models";
import type { Word } from "../words/english";
import { change, say } from "../words/words";

const PARTIES = {
  trunk: "trunk",
  joined: "joined",
  oracle: "oracle",
  leaf: "withLeaf",
  teacher: "teacher",
  student: "student",
} as const;
const NAMES = new Map<string, Word>(Object.entries(PARTIES));

/** Bits per byte: a row for each domain, a column for each party, and how far the last went from the first. */
export function QualityTable({ quality }: { quality: Quality }): VNode {
  const rows = Object.entries(quality);
  const columns = [...new Set(rows.flatMap(([, row]) => Object.keys(row)))];
  const colours = paint(columns.filter((column) => !NAMES.has(column)));
  const after = ["joined", "leaf", "student"].find((column) => columns.includes(column));
  const changed = (row: Quality[string]) => {
    const before = row["trunk"] ?? row["teacher"];
    return after && before && row[after] ? row[after] / before - 1 : null;
  };
  const changes = rows.map(([, row]) => changed(row)).filter((share) => share !== null);
  return (
    <section class="part">
      <h2>{say("quality")}</h2>
      <p class="note">{say("qualityAbout")}</p>
      <div class="wide" tabIndex={0}>
        <table class="quality">
          <thead>
            <tr>
              <th scope="col">{say("domain")}</th>
              {columns.map((column) => (
                <th key={column} scope="col" class="figure" style={{ "--leaf": colours.get(column) ?? "" }}>
                  {colours.has(column) && <i class="swatch" />}
                  {nameOf(column)}
                </th>
              ))}
              {after && (
                <th scope="col" class="figure">
                  {say("change")}
                </th>
              )}
              {after && <td />}
            </tr>
          </thead>
          <tbody>
            {rows.map(([domain, row]) => (
              <tr key={domain}>
                <th scope="row">{domain}</th>
                {columns.map((column) => (
                  <td key={column} class="figure">
                    {best(row) === column ? <b>{figure(row[column])}</b> : figure(row[column])}
                  </td>
                ))}
                {after && <Change share={changed(row)} every={changes} />}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function nameOf(column: string): string {
  const word = NAMES.get(column);
  return word ? say(word) : column;
}

/** By how much a domain changed, and a line from the trunk (ring) to what there is now (dot), all on one scale. */
function Change({ share, every }: { share: number | null; every: number[] }): VNode {
  if (share === null) return <td colSpan={2} />;
  const [low, high] = [Math.min(0, ...every), Math.max(0, ...every)];
  const x = (value: number) => 8 + (104 * (value - low)) / (high - low || 1);
  return (
    <>
      <td class="figure">{change(share)}</td>
      <td class="span">
        <svg viewBox="0 0 120 16" aria-hidden="true">
          <path d={`M${x(0)} 8H${x(share)}`} />
          <circle class="ring" cx={x(0)} cy={8} r={4} />
          <circle cx={x(share)} cy={8} r={4} />
        </svg>
      </td>
    </>
  );
}

/** Return the best column of a row; the oracle is told which leaf to use, and does not count. */
function best(row: Record<string, number | null>): string | undefined {
  const parties = Object.entries(row).filter(([column, value]) => column !== "oracle" && value !== null);
  return parties.sort(([, a], [, b]) => (a as number) - (b as number))[0]?.[0];
}

function figure(value: number | null | undefined): string {
  return value == null ? "–" : value.toFixed(3);
}
