import type { VNode } from "preact";
import { listHoldings, listReleases } from "../api/client";
import type { Holding, Release as ReleaseTold } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import { large, say } from "../words/words";

interface Told {
  /** Missing if a later release took its place. */
  release: ReleaseTold | undefined;
  holdings: Holding[];
}

/** A release, and the slices of it: each can be pulled alone. */
export function Release({ hash }: { hash: string }): VNode {
  const { value, problem, reload } = useLoaded<Told>(hash, 0, () => load(hash));
  const told = value.value;
  const title = told?.release ? `${told.release.name} ${told.release.version}` : hash.slice(0, 12);
  return (
    <div class="view">
      <p class="path">
        <a href="#/data">{say("data")}</a> /
      </p>
      <h1>{title}</h1>
      <p class="lead">
        <code>{hash}</code>
      </p>
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!told && !problem.value && <p class="note">{say("loading")}</p>}
      {told && <Slices holdings={told.holdings} />}
      {told?.release?.location && <Pull release={told.release} first={told.holdings[0]} />}
    </div>
  );
}

function Slices({ holdings }: { holdings: Holding[] }): VNode {
  const most = Math.max(...holdings.map(({ documents }) => documents));
  return (
    <section class="part">
      <h2>{say("slices")}</h2>
      <div class="wide" tabIndex={0}>
        <table class="slices">
          <thead>
            <tr>
              <th scope="col">{say("domain")}</th>
              <th scope="col">{say("languageOfText")}</th>
              <th scope="col">{say("licence")}</th>
              <th scope="col" class="figure">
                {say("qualityRange")}
              </th>
              <th scope="col" class="figure">
                {say("documentsTitle")}
              </th>
              <td />
            </tr>
          </thead>
          <tbody>
            {holdings.map(({ domain, language, licence, licence_class, documents, min_quality, max_quality }) => (
              <tr key={`${domain} ${language} ${licence}`}>
                <th scope="row">{domain}</th>
                <td>{language}</td>
                <td>
                  {licence} {licence_class !== licence && <span class="faint">{licence_class}</span>}
                </td>
                <td class="figure">
                  {min_quality.toFixed(2)}–{max_quality.toFixed(2)}
                </td>
                <td class="figure">{large(documents)}</td>
                <td class="share">
                  <i style={{ "--share": `${(100 * documents) / most}%` }} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Pull({ release, first }: { release: ReleaseTold; first: Holding | undefined }): VNode {
  const slice = first ? `domain=${first.domain} language=${first.language}` : "";
  const words = ["baicai data pull", quoted(release.location), `key=${release.key}`, "--slice", quoted(slice), "--out DIR"];
  return (
    <section class="part">
      <h2>{say("pull")}</h2>
      <p class="note">{say("pullAbout")}</p>
      <pre class="command" tabIndex={0}>{words.join(" ")}</pre>
    </section>
  );
}

async function load(hash: string): Promise<Told> {
  const [holdings, { data }] = await Promise.all([listHoldings(hash), listReleases("")]);
  return { holdings, release: data.find((one) => one.hash === hash) };
}

/** Return a text as one word of a shell. */
function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
