import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { listReleases } from "../api/client";
import type { Release } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import { day, large, say, size } from "../words/words";
import { Bars } from "./bars";

/** The catalogue of text: which releases there are, and which may hold what is asked for. */
export function Data(): VNode {
  const slice = useSignal("");
  const { value, problem, reload } = useLoaded(slice.value, 0, () => listReleases(slice.value));
  const found = value.value;
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    slice.value = String(new FormData(event.currentTarget as HTMLFormElement).get("slice") ?? "").trim();
  };
  return (
    <div class="view">
      <h1>{say("data")}</h1>
      <p class="lead">{say("dataAbout")}</p>
      {found?.catalog === null ? (
        <p class="note">
          {say("dataNone")} <code>baicai serve MODEL catalog_url=sqlite:///FILE</code>
        </p>
      ) : (
        <form class="slice" onSubmit={onSubmit}>
          <label>
            {say("slice")}
            <input name="slice" maxLength={1000} placeholder="domain=law language=de quality>0.6" spellcheck={false} />
          </label>
          <button class="quiet">{say("search")}</button>
        </form>
      )}
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!found && !problem.value && <p class="note">{say("loading")}</p>}
      {found?.catalog && !found.data.length && <p class="note">{say("dataEmpty")}</p>}
      {found?.data.map((release) => (
        <Entry key={`${release.hash} ${release.location}`} release={release} />
      ))}
      {found?.catalog && <p class="note">{say("dataWhere", { where: found.catalog })}</p>}
    </div>
  );
}

function Entry({ release }: { release: Release }): VNode {
  const { name, version, hash, documents, size_bytes, expires, taken_down, location } = release;
  const late = Date.parse(expires) < Date.now();
  return (
    <section class="about" aria-label={`${name} ${version}`}>
      <h2>
        <a href={`#/data/${hash}`}>{name}</a> <span>{say("version", { version })}</span>{" "}
        <code title={hash}>{hash.slice(0, 12)}</code>
      </h2>
      <p class="facts">
        <span>{say("documents", { count: large(documents) })}</span>
        <span>{size(size_bytes)}</span>
        <span class={late ? "late" : undefined}>{say(late ? "expired" : "expires", { day: day(expires) })}</span>
        {taken_down > 0 && <span>{say("takenBack", { count: large(taken_down) })}</span>}
      </p>
      {location && <p class="where">{location}</p>}
      <div class="counts">
        <Bars title={say("domain")} counts={release.domain} />
        <Bars title={say("languageOfText")} counts={release.language} />
        <Bars title={say("licence")} counts={release.licence} />
      </div>
    </section>
  );
}
