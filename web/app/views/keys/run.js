// The check of many keys: how far it is, a way to stop it, and what came of it.
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { number, span } from "../../lib/format.js";
import { jobs } from "../../lib/live.js";
import { reason } from "../../lib/reasons.js";
import { address, query, setQuery } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { IconButton } from "../../parts/form.js";
import { Icon, Spinner } from "../../parts/icon.js";
import { CancelJob, Progress, useJob } from "../../parts/jobs.js";

/** The check that belongs to the page: the one that the address names, or one that runs. */
function useRun(provider) {
  const [seen, setSeen] = useState({});
  const running = jobs.value.find((j) => j.kind === "check" && j.provider === provider)?.id;
  useEffect(() => {
    if (running) setSeen({ provider, id: running });
  }, [running, provider]);
  const id = query.value.job || running || (seen.provider === provider ? seen.id : undefined);
  const job = useJob(id);
  const dismiss = () => {
    setSeen({});
    setQuery({ job: null }, { replace: true });
  };
  useEffect(() => {
    if (job === null && query.value.job) dismiss(); // there is no such job
  }, [job]);
  return { job: job?.kind === "check" && job.provider === provider ? job : null, dismiss };
}

const looks = { running: "info", done: "active", cancelled: "disabled", failed: "failed", interrupted: "failed" };

/** The check of the provider's keys, if there is one. ended is called when it has ended. */
export function Run({ provider, ended }) {
  const { job, dismiss } = useRun(provider);
  const was = useRef("");
  useEffect(() => {
    if (!job) return;
    if (was.current === `${job.id} running` && job.state !== "running") ended();
    was.current = `${job.id} ${job.state}`;
  }, [job?.id, job?.state]);
  if (!job || (job.by === "schedule" && job.state !== "running")) return null;
  const runs = job.state === "running";
  const state = looks[job.state] ?? "info";
  return html`<section class=${`panel job s-${state}`} aria-label=${t("keys.run")}>
    <div class="job-head">${runs ? html`<${Spinner} />` : html`<${Icon} name=${state} />`}
      <b role="status">${t(`keys.run.${job.state}`, { n: job.total, done: job.done })}</b>
      <span class="actions">${runs ? html`<${CancelJob} id=${job.id} class="small" label=${t("keys.run.stop")} />` : html`<${IconButton} icon="close" label=${t("close")} class="ghost small" onClick=${dismiss} />`}</span></div>
    ${runs && html`<${Progress} done=${job.done} total=${job.total} label=${t("keys.run")} />`}
    <${Outcome} job=${job} runs=${runs} />
  </section>`;
} // words: keys.run.*

function Outcome({ job, runs }) {
  const { healthy = 0, unhealthy = 0, inconclusive = 0, missing = 0 } = job.counts ?? {};
  const shown = [["active", healthy, "healthy"], ["failed", unhealthy, "unhealthy"], ["info", inconclusive, "inconclusive"], ["disabled", missing, "missing"]];
  const said = job.waiting ? t("keys.run.waiting", { reason: reason(job.waiting) })
    : runs && job.secondsLeft > 0 ? t("keys.run.left", { span: span(job.secondsLeft) })
      : !runs && job.error && job.state !== "cancelled" ? reason(job.error) : "";
  return html`<dl class="results">${shown.filter(([, n], i) => n > 0 || i === 0).map(([state, n, name]) => html`<div key=${name} class=${`s-${state}`}><dt><${Icon} name=${state} />${t(`keys.run.${name}`)}</dt><dd>${number(n)}</dd></div>`)}
    ${!runs && unhealthy + inconclusive + missing > 0 && job.badListed > 0 && html`<div><a href=${address(`/admin/jobs/${encodeURIComponent(job.id)}/bad`)} download>${t("keys.run.bad")}</a></div>`}
    ${said && html`<div class="muted said">${said}</div>`}</dl>`;
}
