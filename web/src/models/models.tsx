import type { VNode } from "preact";
import type { ModelInfo } from "../api/types";
import { models, assignColours } from "../state/models";
import { formatCount, formatPercent, t } from "../i18n/translate";
import { Cards } from "./cards";
import { Lineage } from "./lineage";
import { NoModels } from "./no_models";

export function Models(): VNode {
  return (
    <div class="view">
      <h1>{t("models")}</h1>
      <p class="lead">{t("modelsAbout")}</p>
      <NoModels />
      {models.value.map((model) => (
        <Model key={model.id} model={model} />
      ))}
    </div>
  );
}

function Model({ model: { id, baicai } }: { model: ModelInfo }): VNode {
  const { kind, hash, leaves, total_parameters, active_parameters, flops_per_token, max_tokens } = baicai;
  const tiles: [string, string][] = [
    [formatCount(total_parameters), t("parametersAll")],
    [formatPercent(active_parameters / total_parameters), t("parametersUsed")],
    [formatCount(flops_per_token), t("flops")],
    [formatCount(max_tokens), t("tokensContext")],
  ];
  return (
    <section class="about" aria-label={id}>
      <h2>
        {id} <span>{t(kind === "model" ? "modelTitle" : "trunk")}</span> <code title={hash}>{hash.slice(0, 12)}</code>
      </h2>
      <dl class="tiles">
        {tiles.map(([value, text]) => (
          <div key={text}>
            <dt>{text}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {leaves.length > 0 && (
        <div class="parts">
          <LeafTable model={baicai} />
          <figure>
            <figcaption>{t("lineageTitle")}</figcaption>
            <Lineage id={id} model={baicai} />
          </figure>
        </div>
      )}
      <Cards model={baicai} />
    </section>
  );
}

function LeafTable({ model: { leaves } }: { model: ModelInfo["baicai"] }): VNode {
  const colours = assignColours(leaves.map(({ name }) => name));
  return (
    <div class="wide" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("leaf")}</th>
            <th scope="col" class="figure">
              {t("parameters")}
            </th>
            <th scope="col">{t("location")}</th>
            <th scope="col" class="spare">
              {t("hash")}
            </th>
          </tr>
        </thead>
        <tbody>
          {leaves.map(({ name, hash, parameters, resident }) => (
            <tr key={name} style={{ "--leaf": colours.get(name) ?? "" }}>
              <th scope="row" title={name}>
                <i class="swatch" />
                {name}
              </th>
              <td class="figure">{formatCount(parameters)}</td>
              <td class="faint">{t(resident ? "inMemory" : "onDisk")}</td>
              <td class="spare">
                <code title={hash}>{hash.slice(0, 8)}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
