// What happened to a key, and what was counted of it.
import { html, useState } from "../../lib/preact.js";
import { dated, hour, number } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { address, withQuery } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { Copy } from "../../parts/copy.js";
import { MiniBars } from "../../parts/chart.js";
import { Icon } from "../../parts/icon.js";
import { When } from "../../parts/time.js";
import { sourceName } from "../import/names.js";
import { Account, rate } from "./list.js";

const looks = {
  added: ["info", "plus"], rested: ["resting", "resting"], refused: ["failed", "failed"], "passed over": ["disabled", "lock"], returned: ["active", "active"],
  enabled: ["active", "power"], disabled: ["disabled", "disabled"], checked: ["active", "verify"], cleared: ["active", "power"],
};
const shownAtFirst = 6;

function title(e) {
  const what = e.what.replace(" ", "-");
  if (e.until) return t(`keys.event.${what}-until`, { at: hour(e.until), model: e.model ?? "" });
  return t(`keys.event.${what}`, { model: e.model ?? "" });
} // words: keys.event.*

/** Why it happened; of an added key, from which import it came. */
function detail(e) {
  const source = /^by import: (.+)$/s.exec(e.detail ?? "")?.[1];
  return source ? t("told.imported", { source: sourceName(source) }) : reason(e.detail);
}

function Event({ of: e, provider }) {
  const [state, icon] = looks[e.what] ?? ["info", "info"];
  const said = e.what === "passed over" ? "" : [detail(e), e.model].filter(Boolean).join(t("list.comma"));
  return html`<li class=${`s-${state}`}><${When} at=${e.at} /><${Icon} name=${icon} /><span>${title(e)}
    ${(said || e.request_id) && html`<small>${said}${e.request_id && html`${said && t("list.comma")}<a href=${address("/dashboard/requests", { provider, open: e.request_id })}>${t("keys.event.attempt", { n: e.attempt ?? 1 })}</a>`}</small>`}</span></li>`;
}

export function Events({ of: k }) {
  const [all, setAll] = useState(false);
  const list = all ? k.events : k.events.slice(0, shownAtFirst);
  return html`<section><h3>${t("keys.events")}</h3>
    ${k.events.length === 0 ? html`<p class="hint">${t("keys.events.none")}</p>` : html`<ol class="events">${list.map((e, i) => html`<${Event} key=${`${e.at} ${e.what} ${i}`} of=${e} provider=${k.provider} />`)}</ol>`}
    ${k.events.length > list.length && html`<button type="button" class="btn ghost small" onClick=${() => setAll(true)}>${t("keys.events.all", { n: k.events.length })}</button>`}
  </section>`;
}

export function Hours({ of: k }) {
  const total = k.hours.reduce((n, h) => n + h.total, 0);
  const failed = k.hours.reduce((n, h) => n + h.failure, 0);
  return html`<section><h3>${t("keys.hours")} <span class="hint">${total === 0 ? t("keys.hours.none") : t("keys.hours.sum", { n: total, failed })}</span></h3>
    ${total > 0 && html`<${MiniBars} points=${k.hours.map((h) => ({ at: h.hour, success: h.success, failure: h.failure }))} label=${t("list.of", { what: t("keys.hours"), of: t("keys.hours.sum", { n: total, failed }) })} />`}</section>`;
}

export const Models = ({ of: k }) => k.refused_models.length > 0 && html`<section><h3>${t("keys.models")}</h3>
  <dl class="facts">${k.refused_models.map((m) => html`<dt key=${m.model} class="mono">${m.model}</dt><dd class="muted">${t("keys.row.until", { at: hour(m.until) })}</dd>`)}</dl></section>`;

export function Facts({ of: k }) {
  const alone = !k.account || k.account.keys <= 1;
  return html`<section><dl class="facts">
    <dt>${t("keys.account")}</dt><dd><${Account} name=${k.username} />${!alone && html` <a href=${withQuery({ search: k.account.username, status: null, category: null, reason: null, page: null })}>${t("keys.account.keys", { n: k.account.keys, resting: k.account.resting })}</a>`}</dd>
    <dt>${t("keys.fact.attempts")}</dt><dd>${number(k.total_requests)} ${k.total_requests > 0 && html`<span class="hint">${t("keys.fact.rate", { rate: rate(k) })}</span>`}${k.total_requests > 0 && html` <a href=${address("/dashboard/requests", { provider: k.provider, key: k.id })}>${t("keys.fact.requests")}</a>`}</dd>
    <dt>${t("keys.fact.row")}</dt><dd>${number(k.consecutive_failures)}</dd>
    <dt>${t("keys.fact.success")}</dt><dd><${When} at=${k.last_success} none=${t("keys.never")} /></dd>
    <dt>${t("keys.fact.failure")}</dt><dd><${When} at=${k.last_failure} none=${t("keys.never")} /></dd>
    ${k.last_error && html`<dt>${t("keys.error")}</dt><dd>${reason(k.last_error)}</dd>`}
    <dt>${t("keys.family")}</dt><dd>${k.category || t("keys.unknown")}</dd>
    <dt>${t("keys.fact.added")}</dt><dd>${k.created_at ? dated(k.created_at) : t("keys.unknown")}</dd>
    <dt>${t("keys.fact.expires")}</dt><dd>${k.expires_at ? dated(k.expires_at) : t("keys.forever")}</dd>
    <dt>${t("keys.fact.id")}</dt><dd class="with-copy"><span class="mono">${k.id}</span><${Copy} text=${k.id} label=${t("keys.copy.id")} class="ghost small" /></dd>
  </dl></section>`;
}
