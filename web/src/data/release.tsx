import type { VNode } from "preact";
import { listHoldings, listReleases } from "../api/client";
import type { Holding, Release as ReleaseData } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import { formatCount, t } from "../i18n/translate";

interface LoadedRelease {
  /** Missing if a later release has replaced it. */
  release: ReleaseData | undefined;
  holdings: Holding[];
}

/** A release and its slices, which can be pulled separately. */
export function Release({ hash }: { hash: string }): VNode {
  const { value, problem, reload } = useLoaded<LoadedRelease>(hash, 0, () => load(hash));
  const loaded = value.value;
  const title = loaded?.release ? `${loaded.release.name} ${loaded.release.version}` : hash.slice(0, 12);
  return (
    <div class="view">
      <p class="path">
        <a href="#/data">{t("data")}</a> /
      </p>
      <h1>{title}</h1>
      <p class="lead">
        <code>{hash}</code>
      </p>
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!loaded && !problem.value && <p class="note">{t("loading")}</p>}
      {loaded && <Slices holdings={loaded.holdings} />}
      {loaded?.release?.location && <Pull release={loaded.release} first={loaded.holdings[0]} />}
    </div>
  );
}

function Slices({ holdings }: { holdings: Holding[] }): VNode {
  const maximum = Math.max(...holdings.map(({ documents }) => documents));
  return (
    <section class="part">
      <h2>{t("slices")}</h2>
      <div class="wide" tabIndex={0}>
        <table class="slices">
          <thead>
            <tr>
              <th scope="col">{t("domain")}</th>
              <th scope="col">{t("languageOfText")}</th>
              <th scope="col">{t("licence")}</th>
              <th scope="col" class="figure">
                {t("qualityRange")}
              </th>
              <th scope="col" class="figure">
                {t("documentsTitle")}
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
                <td class="figure">{formatCount(documents)}</td>
                <td class="share">
                  <i style={{ "--share": `${(100 * documents) / maximum}%` }} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Pull({ release, first }: { release: ReleaseData; first: Holding | undefined }): VNode {
  const slice = first ? `domain=${first.domain} language=${first.language}` : "";
  const command = ["baicai data pull", quoted(release.location), `key=${release.key}`, "--slice", quoted(slice), "--out DIR"];
  return (
    <section class="part">
      <h2>{t("pull")}</h2>
      <p class="note">{t("pullAbout")}</p>
      <pre class="command" tabIndex={0}>{command.join(" ")}</pre>
    </section>
  );
}

async function load(hash: string): Promise<LoadedRelease> {
  const [holdings, { data }] = await Promise.all([listHoldings(hash), listReleases("")]);
  return { holdings, release: data.find((release) => release.hash === hash) };
}

/** Quote a text as a single shell argument. */
function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
