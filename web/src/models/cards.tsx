import type { VNode } from "preact";
import type { DataInfo, LeafInfo, ModelInfo } from "../api/types";
import { QualityTable } from "../runs/quality";
import { formatCount, t } from "../i18n/translate";

/** Training data of the trunk and the leaves, and the gain of each leaf. */
export function Cards({ model: { data, leaves } }: { model: ModelInfo["baicai"] }): VNode {
  return (
    <div class="cards">
      {data.length > 0 && (
        <details>
          <summary>{t("dataTrunk")}</summary>
          <Texts data={data} />
        </details>
      )}
      {leaves.map((leaf) => (
        <LeafCard key={leaf.name} leaf={leaf} />
      ))}
    </div>
  );
}

function LeafCard({ leaf: { name, hash, signed, data, bits_per_byte } }: { leaf: LeafInfo }): VNode {
  return (
    <details>
      <summary>{t("card", { name })}</summary>
      <p class="facts">
        <code>{hash}</code> <span>{t("checked")}</span> <span>{t(signed ? "signed" : "signedNot")}</span>
      </p>
      <Texts data={data} />
      {Object.keys(bits_per_byte).length > 0 && <QualityTable quality={bits_per_byte} />}
    </details>
  );
}

function Texts({ data }: { data: DataInfo[] }): VNode {
  return (
    <div class="wide" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("text")}</th>
            <th scope="col" class="figure">
              {t("tokensTitle")}
            </th>
            <th scope="col">{t("licence")}</th>
            <th scope="col">{t("manifest")}</th>
            <th scope="col">{t("release")}</th>
          </tr>
        </thead>
        <tbody>
          {data.map(({ domain, manifest, tokens, licences, release, slice }) => (
            <tr key={manifest}>
              <th scope="row">{domain}</th>
              <td class="figure">{formatCount(tokens)}</td>
              <td>{Object.keys(licences).join(", ")}</td>
              <td>
                <code title={manifest}>{manifest.slice(0, 8)}</code>
              </td>
              <td>
                {release ? (
                  <>
                    <a href={`#/data/${release}`}>{release.slice(0, 8)}</a> <span class="faint">{slice}</span>
                  </>
                ) : (
                  "–"
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
