import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import type { Routing } from "../api/types";
import { assignColours } from "../state/models";
import { t } from "../i18n/translate";

/** Heatmap of the routing: the mean weight of each leaf on each domain. */
export function Heatmap({ routing: { leaves, layers, share } }: { routing: Routing }): VNode {
  const layer = useSignal(-1);
  const colours = assignColours(leaves);
  const position = (domain: string) => (leaves.includes(domain) ? leaves.indexOf(domain) : leaves.length);
  const domains = Object.keys(share).sort((a, b) => position(a) - position(b));
  const maximum = Math.max(0.01, ...Object.values(share).flat(2));
  return (
    <section class="part">
      <h2>{t("routing")}</h2>
      <p class="note">{t("routingAbout")}</p>
      <label class="pick">
        {t("layer")}
        <select value={layer.value} onChange={(event) => (layer.value = Number(event.currentTarget.value))}>
          <option value={-1}>{t("layersMean")}</option>
          {layers.map((number, index) => (
            <option key={number} value={index}>
              {number}
            </option>
          ))}
        </select>
      </label>
      <div class="wide" tabIndex={0}>
        <table class="heat">
          <thead>
            <tr>
              <th scope="col">{t("domain")}</th>
              {leaves.map((leaf) => (
                <th key={leaf} scope="col" style={{ "--leaf": colours.get(leaf) ?? "" }}>
                  <i class="swatch" />
                  {leaf}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {domains.map((domain) => (
              <tr key={domain}>
                <th scope="row">{domain}</th>
                {weights(share[domain] ?? [], layer.value).map((weight, column) => (
                  <td
                    key={column}
                    class={leaves[column] === domain ? "own" : undefined}
                    style={{ "--share": `${(100 * weight) / maximum}%`, "--leaf": colours.get(domain) ?? "" }}
                  >
                    {weight.toFixed(2)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Return the weight of each leaf in a layer, or the mean over layers for -1. */
function weights(byLayer: number[][], layer: number): number[] {
  const rows = layer < 0 ? byLayer : byLayer.slice(layer, layer + 1);
  return (rows[0] ?? []).map((_, leaf) => rows.reduce((sum, row) => sum + (row[leaf] ?? 0), 0) / rows.length);
}
