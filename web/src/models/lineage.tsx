import type { VNode } from "preact";
import type { DataInfo, ModelInfo } from "../api/types";
import { assignColours } from "../state/models";
import { t } from "../i18n/translate";

const WIDTH = 340;
const ROW = 40;
const [TRUNK, LEAF, JOIN, MODEL] = [12, 112, 228, 328];
const MAX_LETTERS = 15;

/** Diagram of a model's origin: leaves grown independently on one trunk, then joined. */
export function Lineage({ id, model }: { id: string; model: ModelInfo["baicai"] }): VNode {
  const height = ROW * (model.leaves.length + 1);
  const middle = height / 2;
  const trunk = model.trunk.slice(0, 8);
  const names = model.leaves.map(({ name }) => name);
  const colours = assignColours(names);
  const labels = { trunk, leaves: names.join(", "), model: id };
  return (
    <svg class="lineage" viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={t("lineage", labels)}>
      {names.map((name, index) => {
        const y = ROW * (index + 1);
        return (
          <g key={name} style={{ "--leaf": colours.get(name) ?? "" }}>
            <path d={`M${TRUNK} ${middle}${curve(TRUNK, middle, LEAF, y)}H${JOIN}${curve(JOIN, y, MODEL, middle)}`} />
            <circle cx={LEAF} cy={y} r={5} />
            <text x={LEAF + 12} y={y + 4}>
              {name.length > MAX_LETTERS ? `${name.slice(0, MAX_LETTERS - 1)}…` : name}
            </text>
            <text class="faint" x={LEAF + 12} y={y + 18}>
              {origins(model.leaves[index]?.data ?? [])}
            </text>
          </g>
        );
      })}
      <circle class="end" cx={TRUNK} cy={middle} r={6} />
      <text class="faint" x={TRUNK - 6} y={middle + 22}>
        {t("trunk")}
      </text>
      <circle class="end" cx={MODEL} cy={middle} r={6} />
      <text class="faint" x={MODEL + 6} y={middle + 22} text-anchor="end">
        {t("modelTitle")}
      </text>
    </svg>
  );
}

/** Name the releases, or else the manifests, that a leaf was trained on. */
function origins(data: DataInfo[]): string {
  const names = [...new Set(data.map(({ release, manifest }) => (release ?? manifest).slice(0, 8)))];
  return names.length > 2 ? `${names[0]} +${names.length - 1}` : names.join(" ");
}

function curve(x1: number, y1: number, x2: number, y2: number): string {
  const bend = (x1 + x2) / 2;
  return `C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}`;
}
