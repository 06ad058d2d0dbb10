import type { VNode } from "preact";
import type { ModelInfo } from "../api/types";
import { models, paint } from "../state/models";
import { large, percent, say } from "../words/words";
import { Cards } from "./cards";
import { Lineage } from "./lineage";
import { NoModels } from "./no_models";

export function Models(): VNode {
  return (
    <div class="view">
      <h1>{say("models")}</h1>
      <p class="lead">{say("modelsAbout")}</p>
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
    [large(total_parameters), say("parametersAll")],
    [percent(active_parameters / total_parameters), say("parametersUsed")],
    [large(flops_per_token), say("flops")],
    [large(max_tokens), say("tokensContext")],
  ];
  return (
    <section class="about" aria-label={id}>
      <h2>
        {id} <span>{say(kind === "model" ? "modelTitle" : "trunk")}</span> <code title={hash}>{hash.slice(0, 12)}</code>
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
            <figcaption>{say("lineageTitle")}</figcaption>
            <Lineage id={id} model={baicai} />
          </figure>
        </div>
      )}
      <Cards model={baicai} />
    </section>
  );
}

function LeafTable({ model: { leaves } }: { model: ModelInfo["baicai"] }): VNode {
  const colours = paint(leaves.map(({ name }) => name));
  return (
    <div class="wide" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">{say("leaf")}</th>
            <th scope="col" class="figure">
              {say("parameters")}
            </th>
            <th scope="col">{say("where")}</th>
            <th scope="col" class="spare">
              {say("hash")}
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
              <td class="figure">{large(parameters)}</td>
              <td class="faint">{say(resident ? "inMemory" : "no")}</td>
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
