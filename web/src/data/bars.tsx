import type { VNode } from "preact";
import type { Counts } from "../api/types";
import { formatCount, t } from "../i18n/translate";

const MAX_BARS = 8;

/** Bar chart of document counts, largest first. */
export function Bars({ title, counts }: { title: string; counts: Counts }): VNode {
  const ordered = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const rest = ordered.slice(MAX_BARS);
  const shown = ordered.slice(0, MAX_BARS);
  if (rest.length) {
    const count = rest.reduce((sum, [, documents]) => sum + documents, 0);
    shown.push([t("others", { count: rest.length }), count]);
  }
  const maximum = Math.max(1, ...shown.map(([, count]) => count));
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <dl class="bars">
        {shown.map(([name, count]) => (
          <div key={name}>
            <dt title={name}>{name}</dt>
            <dd>
              <i style={{ "--share": `${(100 * count) / maximum}%` }} />
              <span>{formatCount(count)}</span>
            </dd>
          </div>
        ))}
      </dl>
    </figure>
  );
}
