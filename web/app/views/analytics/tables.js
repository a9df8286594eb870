// The tables: by model, by key, by token.
import { html } from "../../lib/preact.js";
import { day, hour, middle, millisText, moment, number, share, shortText } from "../../lib/format.js";
import { address } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { Meter, stateName } from "../../parts/state.js";
import { When } from "../../parts/time.js";
import { keyAddress } from "../../parts/trail.js";

/** Below so many percent a success rate is pointed out. */
const poor = 96;

function Rate({ row }) {
  const judged = row.success + row.failure;
  if (judged === 0) return "–";
  const text = share(row.success, judged);
  const hint = t("analytics.failed", { n: row.failure });
  if ((100 * row.success) / judged >= poor) return html`<span title=${hint}>${text}</span>`;
  return html`<span class="state s-failed" title=${hint}><${Icon} name="failed" />${text}</span>`;
}

/** When something was used last. It is known by the minute, the hour or the day, as the range is counted. */
function Used({ at, range }) {
  if (!at) return "–";
  return html`<time datetime=${at} title=${range === "1h" ? moment(at) : undefined}>${range === "1h" || range === "24h" ? hour(at) : day(at)}</time>`;
}

const ms = (of, q) => (of ? millisText(of[q]) : "–");
const tokens = (n) => (n === 0 ? "–" : shortText(n));

/** The figures that every table has. sorts says by which columns the API sorts it; most is the largest share of the page. */
function figureColumns({ sorts, most, count, used, cost }) {
  const by = (name) => (sorts === "all" || sorts.includes(name) ? { sort: name, first: "down" } : {});
  return [
    { id: "share", label: t("analytics.share"), sr: true, class: "share narrow wide-only", head: "share wide-only", cell: (r) => html`<span title=${share(r.share, 100)}><${Meter} share=${most > 0 ? (100 * r.share) / most : 0} /></span>` },
    { id: "requests", label: count, class: "num b", head: "num", ...by("requests"), cell: (r) => number(r.requests) },
    { id: "rate", label: t("analytics.success"), class: "num d", head: "num", ...by("successRate"), cell: (r) => html`<${Rate} row=${r} />` },
    { id: "d50", label: t("analytics.duration.p50"), class: "num", ...by("duration.p50"), cell: (r) => ms(r.duration, "p50") },
    { id: "d95", label: t("analytics.duration.p95"), class: "num muted mid-only", head: "num mid-only", ...by("duration.p95"), cell: (r) => ms(r.duration, "p95") },
    { id: "f50", label: t("analytics.first.p50"), class: "num mid-only", ...by("firstByte.p50"), cell: (r) => ms(r.firstByte, "p50") },
    { id: "f95", label: t("analytics.first.p95"), class: "num muted mid-only", head: "num mid-only", ...by("firstByte.p95"), cell: (r) => ms(r.firstByte, "p95") },
    { id: "in", label: t("analytics.in"), class: "num", ...by("tokensIn"), cell: (r) => tokens(r.tokensIn) },
    { id: "out", label: t("analytics.out"), class: "num mid-only", ...by("tokensOut"), cell: (r) => tokens(r.tokensOut) },
    cost && { id: "cost", label: t("analytics.cost"), class: "num muted wide-only", head: "num wide-only", ...by("cost"), cell: (r) => (r.cost > 0 ? number(r.cost, r.cost < 1 ? 4 : 2) : "–") },
    { id: "used", label: t("analytics.used"), class: "num muted wide-only", head: "num wide-only", ...by("lastUsed"), cell: used },
  ].filter(Boolean);
}

const provider = { id: "provider", class: "muted c", head: "", cell: (r) => providerName(r.provider) };

/**
 * The tables: where their rows come from and under which name, what tells rows
 * apart, and their columns. of is { range, most, cost } of what is shown.
 */
export const tables = {
  models: {
    path: "/admin/analytics/models", rows: "models", ranged: true, rowKey: (r) => `${r.provider} ${r.model}`,
    columns: (of) => [
      { id: "model", label: t("analytics.model"), class: "mono a name-cut", head: "", sort: "name", cell: (r) => html`<a class="row-link" href=${address("/dashboard/requests", { model: r.model, provider: r.provider })} title=${t("analytics.model.more", { model: r.model })}>${middle(r.model)}</a>` },
      { ...provider, label: t("provider") },
      ...figureColumns({ ...of, sorts: "all", count: t("analytics.requests"), used: (r) => html`<${Used} at=${r.lastUsed} range=${of.range} />` }),
    ],
  },
  keys: {
    path: "/admin/analytics/keys", rows: "keys", ranged: false, rowKey: (r) => `${r.provider} ${r.id}`,
    columns: (of) => [
      { id: "key", label: t("analytics.key"), class: "mono a nowrap", head: "", cell: (r) => html`<span class=${`state s-${r.status}`} title=${stateName(r.status)}><${Icon} name=${r.status} /><span class="sr-only">${stateName(r.status)}</span><a class="row-link" href=${keyAddress(r.provider, r.id)} title=${t("analytics.key.more")}>${r.apiKey}</a></span>` },
      { id: "account", label: t("analytics.account"), class: "muted c name-cut", head: "", cell: (r) => html`<span title=${r.username}>${r.username || "–"}</span>` },
      { ...provider, class: "muted wide-only", head: "wide-only", label: t("provider") },
      ...figureColumns({ ...of, sorts: ["requests", "lastUsed"], count: t("analytics.attempts"), used: (r) => html`<${When} at=${r.lastUsed} />` }),
    ],
  },
  tokens: {
    path: "/admin/analytics/tokens", rows: "tokens", ranged: true, rowKey: (r) => `${r.provider} ${r.id}`,
    columns: (of) => [
      { id: "token", label: t("analytics.token"), class: "a name-cut", head: "", cell: (r) => html`<a class="row-link" href=${address("/dashboard/requests", { token: r.id, provider: r.provider })} title=${t("analytics.token.more")}>${r.name || (r.token ? t("analytics.token.unnamed") : t("analytics.token.gone"))}</a> <code class="muted hide-phone">${r.token || r.id}</code>` },
      { ...provider, label: t("provider") },
      ...figureColumns({ ...of, sorts: "all", count: t("analytics.requests"), used: (r) => html`<${Used} at=${r.lastUsed} range=${of.range} />` }),
    ],
  },
};
