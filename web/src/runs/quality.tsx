import type { VNode } from "preact";
import type { Quality } from "../api/types";
import { assignColours } from "../state/models";
import type { TextKey } from "../i18n/english";
import { formatChange, t } from "../i18n/translate";

const COLUMNS = {
  trunk: "trunk",
  joined: "joined",
  oracle: "oracle",
  leaf: "withLeaf",
  teacher: "teacher",
  student: "student",
} as const;
const NAMES = new Map<string, TextKey>(Object.entries(COLUMNS));

/** Table of bits per byte, by domain and by model, with the relative change from first to last. */
export function QualityTable({ quality }: { quality: Quality }): VNode {
  const rows = Object.entries(quality);
  const columns = [...new Set(rows.flatMap(([, row]) => Object.keys(row)))];
  const colours = assignColours(columns.filter((column) => !NAMES.has(column)));
  const after = ["joined", "leaf", "student"].find((column) => columns.includes(column));
  const changed = (row: Quality[string]) => {
    const before = row["trunk"] ?? row["teacher"];
    return after && before && row[after] ? row[after] / before - 1 : null;
  };
  const changes = rows.map(([, row]) => changed(row)).filter((share) => share !== null);
  return (
    <section class="part">
      <h2>{t("quality")}</h2>
      <p class="note">{t("qualityAbout")}</p>
      <div class="wide" tabIndex={0}>
        <table class="quality">
          <thead>
            <tr>
              <th scope="col">{t("domain")}</th>
              {columns.map((column) => (
                <th key={column} scope="col" class="figure" style={{ "--leaf": colours.get(column) ?? "" }}>
                  {colours.has(column) && <i class="swatch" />}
                  {nameOf(column)}
                </th>
              ))}
              {after && (
                <th scope="col" class="figure">
                  {t("change")}
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
                {after && <Change share={changed(row)} allShares={changes} />}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function nameOf(column: string): string {
  const key = NAMES.get(column);
  return key ? t(key) : column;
}

/** Relative change of a domain, also drawn as a line from the trunk (ring) to the current model (dot). */
function Change({ share, allShares }: { share: number | null; allShares: number[] }): VNode {
  if (share === null) return <td colSpan={2} />;
  const [low, high] = [Math.min(0, ...allShares), Math.max(0, ...allShares)];
  const x = (value: number) => 8 + (104 * (value - low)) / (high - low || 1);
  return (
    <>
      <td class="figure">{formatChange(share)}</td>
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

/** Return the best column of a row, except the oracle, which is given the right leaf. */
function best(row: Record<string, number | null>): string | undefined {
  const candidates = Object.entries(row).filter(([column, value]) => column !== "oracle" && value !== null);
  return candidates.sort(([, a], [, b]) => (a as number) - (b as number))[0]?.[0];
}

function figure(value: number | null | undefined): string {
  return value == null ? "–" : value.toFixed(3);
}
