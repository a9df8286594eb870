// Step 3: an import that runs, or what one came to.
import { html } from "../../lib/preact.js";
import { hour, number, span, stamp } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { address } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { CancelJob, Progress } from "../../parts/jobs.js";
import { Meter } from "../../parts/state.js";
import { Blank } from "../../parts/table.js";
import { sourceName } from "./names.js";

/** The import that the address names, as useJob gives it. */
export function Run({ job }) {
  if (job === undefined) return html`<section class="panel" aria-busy="true"><div class="panel-head"><h2>${t("import.run")}</h2></div><div class="panel-body run"><span class="bone w3"></span><span class="bone w4"></span><span class="bone w2"></span></div></section>`;
  if (job === null || job.kind !== "import") {
    return html`<section class="panel"><${Blank} icon="search" title=${t("import.gone")} acts=${html`<a class="btn" href="/dashboard/import">${t("import.again")}</a>`}>${t("import.gone.more")}<//></section>`;
  }
  return job.state === "running" ? html`<${Running} job=${job} />` : html`<${Ended} job=${job} />`;
}

/** Where an import comes from and when it began, and how long it took. */
function begun(job) {
  if (job.source === undefined) return ""; // the live figures alone do not tell
  const vars = { source: sourceName(job.source), provider: providerName(job.provider) };
  if (job.state === "running") return t("import.run.sub", { ...vars, at: hour(job.startedAt) });
  const took = (Date.parse(job.finishedAt ?? job.updatedAt) - Date.parse(job.startedAt)) / 1000;
  return t("import.run.ended", { ...vars, at: stamp(job.startedAt), span: span(Math.max(1, took)) });
}

/** An import under way. */
export function Running({ job, link = false }) {
  const title = job.total === 0 ? t("import.run.begins") : t("import.run");
  return html`<section class="panel" aria-label=${t("import.run")}>
    <div class="panel-head"><h2>${link ? html`<a class="row-link" href=${address("/dashboard/import", { job: job.id })}>${title}</a>` : title}</h2><span class="sub">${begun(job)}</span>
      <div class="actions"><${CancelJob} id=${job.id} class="small" /></div></div>
    <div class="panel-body run">
      <${Progress} done=${job.done} total=${job.total} label=${t("import.run.label")}>
        <b>${number(job.done)}</b> ${job.total > 0 && t("import.run.of", { total: job.total })} <span class="muted">${pace(job)}</span>
      <//>
      ${job.waiting && html`<div class="note-box s-resting" role="status"><${Icon} name="clock" /><div>${t("import.waits", { reason: reason(job.waiting) })}</div></div>`}
      <${Results} counts=${job.counts ?? {}} />
      <${Families} of=${job.categories} provider=${job.provider} />
    </div>
  </section>`;
}

/** How quick it is, and how long it takes yet, as far as that can be told from here. */
function pace(job) {
  if (job.waiting || job.done === 0 || job.total === 0) return "";
  const took = (Date.now() - Date.parse(job.startedAt)) / 1000;
  const rate = took > 1 ? job.done / took : 0;
  if (rate === 0) return "";
  return t("import.pace", { rate: Math.max(1, Math.round(rate)), span: span((job.total - job.done) / rate) });
}

const result = (state, icon, name, n) => html`<div class=${`s-${state}`}><dt><${Icon} name=${icon} />${name}</dt><dd>${number(n ?? 0)}</dd></div>`;

/** What came of the checks so far. */
const Results = ({ counts: c }) => html`<dl class="results">
  ${result("active", "active", t("import.valid"), c.valid)}${result("failed", "failed", t("import.refused"), c.invalid)}${result("disabled", "clock", t("import.inconclusive"), c.inconclusive)}
</dl>`;

/** The valid keys by family of models. */
function Families({ of, provider, link = false }) {
  const list = Object.entries(of ?? {}).sort((a, b) => b[1] - a[1]);
  if (list.length === 0) return null;
  return html`<div><h3>${t("import.families")}</h3><ul class="families">${list.map(([name, n]) => html`<li key=${name}>
    <span>${link ? html`<a href=${address("/dashboard/keys", { provider, category: name })}>${name}</a>` : name}</span><span>${number(n)}</span><${Meter} share=${(100 * n) / list[0][1]} /></li>`)}</ul></div>`;
}

const tones = { done: "active", failed: "failed", cancelled: "disabled", interrupted: "failed" };

/** How an import ended, as a state in a table or a head. */
export function Ending({ state }) {
  if (state === "running") return html`<span class="state s-info"><${Icon} name="spinner" class="spin" />${t("import.state.running")}</span>`;
  return html`<span class=${`state s-${tones[state]}`}><${Icon} name=${tones[state]} />${t(`import.state.${state}`)}</span>`; // words: import.state.*
}

/** What an import came to. */
function Ended({ job }) {
  const c = job.counts ?? {};
  const checked = c.valid !== undefined;
  const bad = (c.bad ?? 0) + (c.invalid ?? 0) + (c.inconclusive ?? 0);
  const again = address("/dashboard/import", { provider: job.provider === "ollama" ? "" : job.provider });
  const figure = (name, n, note) => html`<div><dt>${t(`import.end.figure.${name}`)}</dt><dd>${number(n ?? 0)}</dd><dd class="note">${note}</dd></div>`;
  return html`<section class="panel" aria-label=${t("import.result")}>
    <div class="panel-head"><h2><${Ending} state=${job.state} /></h2><span class="sub">${begun(job)}</span>
      <div class="actions"><a class="btn small" href=${again}><${Icon} name="plus" />${t("import.again")}</a></div></div>
    ${job.state !== "done" && html`<div class="panel-body"><div class=${`note-box s-${tones[job.state]}`} role="status"><${Icon} name=${tones[job.state]} /><div>${t(`import.ended.${job.state}`)} ${job.state !== "cancelled" && reason(job.error)}</div></div></div>`}
    ${job.state === "done" && html`<dl class="figures flush" aria-label=${t("import.result")}>
      ${figure("added", c.added, t(c.added > 0 ? "import.end.figure.added.note" : "import.nothing"))}
      ${figure("known", c.existing, t("import.end.figure.known.note"))}
      ${checked ? figure("refused", c.invalid, c.inconclusive > 0 ? t("import.end.figure.unsure", { n: c.inconclusive }) : t("import.end.figure.refused.note")) : null}
      ${figure("bad", c.bad, t("import.figure.bad.note"))}
    </dl>`}
    ${(job.badListed > 0 || (job.state === "done" && c.added > 0)) && html`<div class="panel-body run ended">
      ${job.state === "done" && html`<${Families} of=${job.categories} provider=${job.provider} link />`}
      <div class="btn-row">
        ${job.state === "done" && c.added > 0 && html`<a class="btn primary" href=${address("/dashboard/keys", { provider: job.provider, sort: "-created_at" })}><${Icon} name="keys" />${t("import.see")}</a>`}
        ${job.badListed > 0 && html`<a class="btn" href=${`/admin/jobs/${job.id}/bad`} download><${Icon} name="download" />${bad > job.badListed ? t("import.bad.first", { n: job.badListed, of: bad }) : t("import.bad.get", { n: job.badListed })}</a>`}
      </div>
    </div>`}
  </section>`; // words: import.ended.* import.end.figure.*
}
