// Long work: how far it is, and a way to stop it. What runs is known from the
// live figures, so that a reload loses nothing.
import { html, useEffect, useState } from "../lib/preact.js";
import { get, post } from "../lib/api.js";
import { number } from "../lib/format.js";
import { jobs } from "../lib/live.js";
import { wait } from "../lib/ready.js";
import { t } from "../lib/words.js";
import { Button } from "./form.js";
import { toastError } from "./toast.js";

const every = 1000; // ms between looks while the live figures are silent

/**
 * Follows a job by its id until it has ended, also one that ended before: its
 * state as the API tells it; undefined until that is known, null where there is
 * no such job.
 */
export function useJob(id) {
  const [job, setJob] = useState(undefined);
  const running = jobs.value.find((j) => j.id === id);
  useEffect(() => {
    setJob(id ? undefined : null);
    if (!id) return undefined;
    const known = wait();
    const stop = new AbortController();
    let timer = 0;
    const look = async () => {
      try {
        const { job: found, ...rest } = await get(`/admin/jobs/${encodeURIComponent(id)}`, {}, { signal: stop.signal });
        const seen = found ?? rest;
        setJob(seen);
        if (seen.state !== "running") return;
      } catch (e) {
        if (stop.signal.aborted) return;
        if (e.status === 404) {
          setJob(null);
          return;
        }
      } finally {
        known();
      }
      timer = setTimeout(look, every);
    };
    look();
    return () => {
      stop.abort();
      clearTimeout(timer);
      known();
    };
  }, [id]);
  return job && running && job.state === "running" ? { ...job, ...running } : job;
}

/** A bar with its counts. state is a state of keys that colours it, "" while it runs. */
export const Progress = ({ done, total, state = "", label, children }) => html`<div class=${state && `s-${state}`}>
  <div class="run-line">${children ?? html`<b>${number(done)}</b> ${t("progress.of", { total })}`}<span class="pct">${total > 0 ? `${Math.floor((100 * done) / total)}%` : ""}</span></div>
  <progress class="progress" max=${total || 1} value=${total > 0 ? done : undefined} aria-label=${label}></progress>
</div>`;

/** A button that stops a job; what was done by then stays done. */
export function CancelJob({ id, label = t("cancel"), class: more = "" }) {
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      await post(`/admin/jobs/${encodeURIComponent(id)}/cancel`, {});
    } catch (e) {
      if (e.status === 409) return; // it has just ended
      setBusy(false);
      toastError(e);
    }
  };
  return html`<${Button} class=${more} icon="stop" busy=${busy} onClick=${run}>${label}<//>`;
}
