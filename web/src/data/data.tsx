import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { listReleases } from "../api/client";
import type { Release } from "../api/types";
import { ProblemLine } from "../chat/problem_line";
import { useLoaded } from "../state/loaded";
import { formatDate, formatCount, t, formatBytes } from "../i18n/translate";
import { Bars } from "./bars";

/** The catalogue of text releases, filtered by a slice. */
export function Data(): VNode {
  const slice = useSignal("");
  const { value, problem, reload } = useLoaded(slice.value, 0, () => listReleases(slice.value));
  const releases = value.value;
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    slice.value = String(new FormData(event.currentTarget as HTMLFormElement).get("slice") ?? "").trim();
  };
  return (
    <div class="view">
      <h1>{t("data")}</h1>
      <p class="lead">{t("dataAbout")}</p>
      {releases?.catalog === null ? (
        <p class="note">
          {t("dataNone")} <code>baicai serve MODEL catalog_url=sqlite:///FILE</code>
        </p>
      ) : (
        <form class="slice" onSubmit={onSubmit}>
          <label>
            {t("slice")}
            <input name="slice" maxLength={1000} placeholder="domain=law language=de quality>0.6" spellcheck={false} />
          </label>
          <button class="quiet">{t("search")}</button>
        </form>
      )}
      {problem.value && <ProblemLine problem={problem.value} onRetry={reload} />}
      {!releases && !problem.value && <p class="note">{t("loading")}</p>}
      {releases?.catalog && !releases.data.length && <p class="note">{t("dataEmpty")}</p>}
      {releases?.data.map((release) => (
        <Entry key={`${release.hash} ${release.location}`} release={release} />
      ))}
      {releases?.catalog && <p class="note">{t("dataLocation", { location: releases.catalog })}</p>}
    </div>
  );
}

function Entry({ release }: { release: Release }): VNode {
  const { name, version, hash, documents, size_bytes, expires, taken_down, location } = release;
  const isExpired = Date.parse(expires) < Date.now();
  return (
    <section class="about" aria-label={`${name} ${version}`}>
      <h2>
        <a href={`#/data/${hash}`}>{name}</a> <span>{t("version", { version })}</span>{" "}
        <code title={hash}>{hash.slice(0, 12)}</code>
      </h2>
      <p class="facts">
        <span>{t("documents", { count: formatCount(documents) })}</span>
        <span>{formatBytes(size_bytes)}</span>
        <span class={isExpired ? "late" : undefined}>{t(isExpired ? "expired" : "expires", { day: formatDate(expires) })}</span>
        {taken_down > 0 && <span>{t("takenDown", { count: formatCount(taken_down) })}</span>}
      </p>
      {location && <p class="where">{location}</p>}
      <div class="counts">
        <Bars title={t("domain")} counts={release.domain} />
        <Bars title={t("languageOfText")} counts={release.language} />
        <Bars title={t("licence")} counts={release.licence} />
      </div>
    </section>
  );
}
