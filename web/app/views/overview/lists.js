// The lists of the overview: the models that are asked for most, when resting
// keys return, and the last failures.
import { html } from "../../lib/preact.js";
import { hour, number, share } from "../../lib/format.js";
import { plainReason, reason } from "../../lib/reasons.js";
import { address } from "../../lib/router.js";
import { rich, t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Http, Meter } from "../../parts/state.js";
import { Blank, Table } from "../../parts/table.js";
import { When, endedAt, now } from "../../parts/time.js";
import { shape } from "./shape.js";

const few = 5; // models, unless the list beside it is longer

const one = (data) => (data && data.provider !== "all" ? data.provider : undefined);
const bones = (n, cells) => Array.from({ length: n }, (_, i) => html`<tr key=${i}>${cells.map((c, j) => html`<td key=${j} class=${c}><span class=${`bone w${2 + ((i + j) % 3)}`}></span></td>`)}</tr>`);

/** The models that are asked for most, with a link to all of the range. */
export function Models({ data, range }) {
  const found = data?.topModels.slice(0, Math.max(few, data.rests.length));
  const most = found?.[0]?.requests ?? 0;
  const all = address("/dashboard/analytics", { provider: one(data), range: range === "24h" ? "" : range });
  return html`<section class="panel" aria-label=${t("overview.models")}>
    <div class="panel-head"><h2>${t("overview.models")}</h2><div class="actions"><a href=${all}>${t("overview.models.all")}</a></div></div>
    ${found?.length === 0
      ? html`<div class="table-wrap"><${Blank} icon="analytics" title=${t("overview.models.none")}>${t("overview.models.none.more")}<//></div>`
      : html`<div class="table-wrap"><table aria-busy=${found === undefined}><thead><tr><th scope="col">${t("overview.model")}</th><th class="share"><span class="sr-only">${t("overview.share")}</span></th><th scope="col" class="num">${t("overview.requests")}</th><th scope="col" class="num">${t("overview.success.rate")}</th></tr></thead><tbody>
        ${found === undefined
          ? bones(Math.min(8, Math.max(1, shape().models)), ["", "share", "num", "num"])
          : found.map((m) => html`<tr key=${`${m.provider} ${m.model}`}>
              <td class="mono name"><a class="row-link" href=${address("/dashboard/requests", { provider: m.provider, model: m.model })}>${m.model}</a></td>
              <td class="share"><${Meter} share=${most > 0 ? (100 * m.requests) / most : 0} /></td>
              <td class="num">${number(m.requests)}</td><td class="num">${m.success + m.failure > 0 ? share(m.success, m.success + m.failure) : "–"}</td></tr>`)}
      </tbody></table></div>`}
  </section>`;
}

const soon = 5 * 60000; // ms

/** When resting keys return, and why they rest. */
export function Rests({ data }) {
  const found = data?.rests;
  const mixed = new Set(found?.map((r) => r.provider)).size > 1;
  const first = one(data) ?? found?.[0]?.provider;
  return html`<section class="panel" aria-label=${t("overview.rests")}>
    <div class="panel-head"><h2>${t("overview.rests")}</h2>${found?.length > 0 && html`<div class="actions"><a href=${address("/dashboard/keys", { provider: first, status: "resting" })}>${t("overview.rests.all")}</a></div>`}</div>
    ${found?.length === 0
      ? html`<div class="table-wrap"><${Blank} icon="resting" title=${t("overview.rests.none")}>${t("overview.rests.none.more")}<//></div>`
      : html`<div class="table-wrap"><table class="returns" aria-busy=${found === undefined}><thead><tr><th scope="col">${t("overview.rests.when")}</th><th scope="col">${t("overview.rests.reason")}</th><th class="share"><span class="sr-only">${t("overview.share")}</span></th><th scope="col" class="num">${t("overview.rests.keys")}</th></tr></thead><tbody>
        ${found === undefined
          ? bones(Math.max(1, shape().rests), ["", "", "share", "num"])
          : found.map((r) => html`<tr key=${`${r.provider} ${r.reason} ${r.until}`}>
              <td class="nowrap">${Date.parse(r.until) - now.value <= soon ? t("overview.rests.soon") : hour(r.until)}</td>
              <td class="muted"><a class="row-link" href=${address("/dashboard/keys", { provider: r.provider, status: "resting", reason: r.reason })}>${reason(r.reason) || t("overview.unsaid")}</a>${mixed && html`<span class="sub">${providerName(r.provider)}</span>`}</td>
              <td class="share"><${Meter} share=${r.share} state="resting" /></td><td class="num">${number(r.keys)}</td></tr>`)}
      </tbody></table></div>`}
  </section>`;
}

const shown = (row) => address("/dashboard/requests", { provider: row.provider, status: "failed", open: row.id });

const columns = () => [
  { id: "at", label: t("overview.time"), class: "d muted nowrap", cell: (r) => html`<${When} at=${endedAt(r)} />` },
  { id: "status", label: t("overview.status"), class: "b", cell: (r) => html`<${Http} status=${r.status} />` },
  { id: "reason", label: t("overview.reason"), class: "a", cell: (r) => html`<a class="row-link" href=${shown(r)}>${plainReason(r.error) || t("overview.unsaid")}</a>` },
  { id: "model", label: t("overview.model"), class: "mono c", head: "", cell: (r) => r.model || "–" },
  { id: "key", label: t("overview.key"), class: "mono nowrap mid-only", head: "mid-only", cell: (r) => (r.key ? html`<a class="row-link" href=${address("/dashboard/keys", { provider: r.provider, key: r.key })}>${r.apiKey ?? r.key}</a>` : "–") },
  { id: "attempts", label: t("overview.attempts"), class: "num mid-only", cell: (r) => number(r.attempts) },
  { id: "id", label: t("overview.request"), class: "mono nowrap", head: "", cell: (r) => html`<a class="short-id" href=${shown(r)} title=${r.id}>${r.id}</a>` },
];

/** The last failures, whatever the range. */
export function Failures({ data }) {
  const found = data?.lastFailures;
  const off = data?.log.mode === "off";
  return html`<section class="panel fits" aria-label=${t("overview.failures")}>
    <div class="panel-head"><h2>${t("overview.failures")}</h2><div class="actions"><a href=${address("/dashboard/requests", { provider: one(data), status: "failed" })}>${t("overview.failures.all")}</a></div></div>
    ${found?.length === 0
      ? html`<div class="table-wrap"><${Blank} icon=${off ? "info" : "active"} title=${off ? t("overview.failures.off") : t("overview.failures.none")}>${off ? rich("overview.failures.off.more") : t("overview.failures.none.more")}<//></div>`
      : html`<${Table} label=${t("overview.failures")} columns=${columns()} rows=${found} rowKey=${(r) => `${r.id} ${r.at}`} bones=${Math.max(1, shape().failures)} />`}
  </section>`;
}
