// The table of keys: its columns, and the tabs and controls above it.
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { day, number, share } from "../../lib/format.js";
import { useLater } from "../../lib/load.js";
import { plainReason, reason, reasonStatus } from "../../lib/reasons.js";
import { withQuery } from "../../lib/router.js";
import { rich, t } from "../../lib/words.js";
import { Button, IconButton, Search } from "../../parts/form.js";
import { State, stateName, states } from "../../parts/state.js";
import { LinkTabs } from "../../parts/tabs.js";
import { Hour, Until, When } from "../../parts/time.js";
import { narrowed, orders, searchFor, setFilters } from "./filter.js";

const soon = 120e3; // ms before which a return is counted down
const week = 7 * 86400e3;

const ahead = (at, words) => (Date.parse(at) - Date.now() < soon ? html`<${Until} at=${at} />` : rich(words, { at: html`<${Hour} at=${at} />` }));

/** What is said beside a state: until when, by whom. */
function beside(k) {
  if (k.status === "resting") return k.rests_until && ahead(k.rests_until, "keys.row.until");
  if (k.status === "failed") return k.failed_until && ahead(k.failed_until, "keys.row.back");
  if (k.status === "expired") return k.expires_at && day(k.expires_at);
  if (k.status === "disabled") {
    const by = t(k.disabled_reason === "auto" ? "keys.row.auto" : "keys.row.manual");
    return k.disabled_until ? html`${by}${t("list.comma")}${rich("keys.row.until", { at: html`<${Hour} at=${k.disabled_until} />` })}` : by;
  }
  return k.expires_at && Date.parse(k.expires_at) - Date.now() < week ? ahead(k.expires_at, "keys.row.expires") : null;
}

/** A reason with the status that it speaks of: "429 weekly limit". */
const short = (text) => [reasonStatus(text), plainReason(text)].filter(Boolean).join(" ");

/** The share of a key's attempts that succeeded; of none a dash. */
export const rate = (k) => (k.success_count + k.failure_count === 0 ? "–" : share(k.success_count, k.success_count + k.failure_count));

/** An account's name, in whatever script; cut where it is long. */
export const Account = ({ name }) => (name ? html`<bdi class="account" title=${name}>${name}</bdi>` : html`<span class="muted">–</span>`);

/** The columns. Those with a sort are sorted by the server. */
export const columns = () => [
  { id: "key", label: t("keys.key"), class: "a mono nowrap", head: "", cell: (k) => html`<a class="row-link" id=${`row-${k.id}`} href=${withQuery({ key: k.id })}>${k.api_key}</a>` },
  { id: "account", label: t("keys.account"), class: "c", sort: "username", cell: (k) => html`<${Account} name=${k.username} />` },
  { id: "state", label: t("keys.state"), class: "b", sort: "status", cell: (k) => html`<${State} state=${k.status}>${beside(k)}<//>` },
  { id: "family", label: t("keys.family"), class: "low-only", cell: (k) => k.category && html`<span class="tag">${k.category}</span>` },
  { id: "added", label: t("keys.fact.added"), class: "full-only nowrap muted", sort: "created_at", first: "down", cell: (k) => html`<${When} at=${k.created_at} />` },
  { id: "expires", label: t("keys.fact.expires"), class: "full-only nowrap muted", sort: "expires_at", cell: (k) => (k.expires_at ? day(k.expires_at) : "–") },
  { id: "failures", label: t("keys.fact.row"), class: "num full-only", sort: "consecutive_failures", first: "down", cell: (k) => number(k.consecutive_failures) },
  { id: "attempts", label: t("keys.attempts"), class: "num mid-only", cell: (k) => number(k.total_requests) },
  { id: "success", label: t("keys.success"), class: "num d", cell: rate },
  { id: "used", label: t("keys.used"), class: "wide-only nowrap muted", sort: "last_used", first: "down", cell: (k) => html`<${When} at=${k.last_used} />` },
  { id: "error", label: t("keys.error"), class: "wide-only muted nowrap", cell: (k) => k.last_error && html`<span class="account" title=${reason(k.last_error)}>${short(k.last_error)}</span>` },
];

/** The tabs by status. Where other filters hold, only the count that is known is shown. */
export function Tabs({ filters, counts, total }) {
  const count = (status) => (narrowed(filters) || !counts ? (filters.status === status ? total : undefined) : counts[status || "total"]);
  const tab = (status) => ({
    href: withQuery({ status, page: null, key: null }), label: status ? stateName(status) : t("keys.all"), icon: status, state: status,
    count: count(status), current: filters.status === status,
  });
  return html`<${LinkTabs} label=${t("keys.status")} items=${["", ...states].map(tab)} />`;
}

/** The field that is searched with. What is typed is asked for a moment after the last letter. */
function Find({ filters, typing }) {
  const [text, setText] = useState(filters.search);
  const later = useLater(250);
  const asked = useRef(filters.search);
  useEffect(() => {
    if (filters.search !== asked.current) setText((asked.current = filters.search));
  }, [filters.search]);
  const input = (value) => {
    setText(value);
    typing.current = Date.now();
    later(() => {
      asked.current = value.trim();
      searchFor(value);
    });
  };
  return html`<div class="grow"><${Search} label=${t("keys.search")} placeholder=${t("keys.search.hint")} value=${text} onInput=${input} /></div>`;
}

/** A select for the families, which keeps one that is not, or not yet, in the list. */
function Families({ value, list }) {
  const known = (list?.categories ?? []).map((c) => [c.category, `${c.category} (${number(c.keys)})`]);
  const all = value && !known.some(([c]) => c === value) ? [[value, value], ...known] : known;
  return html`<select class="select" aria-label=${t("keys.family")} onChange=${(e) => setFilters({ category: e.target.value, key: null })}>
    <option value="" selected=${!value}>${t("keys.families.all")}</option>
    ${all.map(([c, label]) => html`<option key=${c} value=${c} selected=${c === value}>${label}</option>`)}
  </select>`;
}

const Order = ({ value }) => html`<select class="select" aria-label=${t("keys.order")} onChange=${(e) => setFilters({ sort: e.target.value === orders[0] ? null : e.target.value })}>
  ${orders.map((o) => html`<option key=${o} value=${o} selected=${o === value}>${t(`keys.order.${o}`)}</option>`)}
</select>`; // words: keys.order.*

/** What stands above the table: search, family, reason, order, export. */
export function Toolbar({ filters, families, typing, onExport }) {
  return html`<div class="toolbar">
    <${Find} filters=${filters} typing=${typing} />
    <${Families} value=${filters.category} list=${families} />
    <${Order} value=${filters.sort} />
    ${filters.reason && html`<span class="chip is-on"><span class="account" title=${reason(filters.reason)}>${short(filters.reason)}</span>
      <${IconButton} icon="close" label=${t("keys.reason.clear")} class="ghost small" onClick=${() => setFilters({ reason: null })} /></span>`}
    <${Button} class="end" icon="download" aria-label=${t("keys.export")} disabled=${!onExport} onClick=${onExport}><span class="hide-phone">${t("keys.export")}</span><//>
  </div>`;
}
