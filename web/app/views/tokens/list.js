// The tokens, whole as the API lists them: searched, sorted and paged here.
import { html } from "../../lib/preact.js";
import { day, number, secondsUntil, span } from "../../lib/format.js";
import { withQuery } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { When, now } from "../../parts/time.js";
import { LimitsCell, usage } from "./limits.js";

const soon = 7 * 86400; // seconds before its end in which a token is told apart

/** How long a token is valid. */
function Validity({ at }) {
  if (!at) return html`<span class="muted">${t("tokens.valid.never")}</span>`;
  const left = secondsUntil(at, now.value);
  if (left === 0) return html`<span class="state s-expired"><${Icon} name="expired" />${t("state.expired")} <small>${day(at)}</small></span>`;
  if (left < soon) return html`<span class="state s-resting"><${Icon} name="clock" />${t("tokens.valid.in", { span: span(left) })}</span>`;
  return html`<time datetime=${at}>${day(at)}</time>`;
}

const time = (at) => (at ? Date.parse(at) : 0);
const end = (at) => (at ? Date.parse(at) : Infinity);

/** What they can be sorted by: the word in the address, and how two are compared. */
const orders = {
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true, sensitivity: "base" }),
  expires_at: (a, b) => Math.sign(end(a.expires_at) - end(b.expires_at)) || 0,
  limits: (a, b) => (usage(a)[0]?.share ?? -1) - (usage(b)[0]?.share ?? -1),
  requests: (a, b) => a.requestCount - b.requestCount,
  last_used: (a, b) => time(a.lastUsed) - time(b.lastUsed),
  created_at: (a, b) => time(a.createdAt) - time(b.createdAt),
};

/** How they are sorted where the address does not say. */
export const standardSort = "-requests";

/** Whether a text is a whole token: one is found by it, but it is kept out of the address. */
export const isToken = (text) => /^sk-\S{16,}$/.test(text.trim());

/** Whether a whole token may be the one that is listed, masked. */
function maybe(k, token) {
  const [begin, end] = k.token.split("…");
  return end !== undefined && token.startsWith(begin) && token.endsWith(end);
}

/** Those that a search finds, in an order. */
export function chosen(tokens, search, sort) {
  const wanted = search.trim().toLowerCase();
  const found = tokens.filter((k) => wanted === "" || maybe(k, search.trim()) || k.name.toLowerCase().includes(wanted) || k.id === wanted || k.token.toLowerCase().includes(wanted));
  const by = orders[sort.replace(/^-/, "")] ?? orders.requests;
  const sign = sort.startsWith("-") ? -1 : 1;
  return found.sort((a, b) => sign * by(a, b) || orders.name(a, b) || (a.id < b.id ? -1 : 1));
}

const scope = (providers) => (providers.length > 1 ? t("tokens.all") : providerName(providers[0]));

/** The columns of the table; revoke is called with a token. */
export const columns = (revoke) => [
  { id: "name", label: t("tokens.name"), class: "a name", sort: "name", cell: (k) => html`<a class="row-link" href=${withQuery({ token: k.id })} title=${k.name}><b>${k.name}</b></a>` },
  { id: "token", label: t("tokens.token"), class: "mono c nowrap", head: "", cell: (k) => html`${k.token}${k.expires_at && html` <span class="phone-only"><${Validity} at=${k.expires_at} /></span>`}` },
  { id: "providers", label: t("tokens.providers"), class: "low-only", cell: (k) => html`<span class="tag">${scope(k.providers)}</span>` },
  { id: "valid", label: t("tokens.valid.until"), class: "nowrap", sort: "expires_at", cell: (k) => html`<${Validity} at=${k.expires_at} />` },
  { id: "limits", label: t("tokens.limits"), class: "wide-only", sort: "limits", first: "down", cell: (k) => html`<${LimitsCell} token=${k} />` },
  { id: "requests", label: t("tokens.requests"), class: "num d", sort: "requests", first: "down", cell: (k) => number(k.requestCount) },
  { id: "used", label: t("tokens.last.used"), class: "muted nowrap mid-only", sort: "last_used", first: "down", cell: (k) => html`<${When} at=${k.lastUsed} none=${t("tokens.unused")} />` },
  { id: "acts", label: t("tokens.acts"), sr: true, class: "num b", cell: (k) => html`<a class="btn small ghost hide-phone" href=${withQuery({ token: k.id })} aria-label=${t("tokens.edit.label", { name: k.name })}>${t("tokens.edit")}</a><button type="button" class="btn small ghost danger" aria-label=${t("tokens.revoke.label", { name: k.name })} onClick=${() => revoke(k)}>${t("tokens.revoke")}</button>` },
];

/** In one line: how many there are, and how many were used lately. */
export function told(tokens) {
  const used = tokens.filter((k) => k.lastUsed && Date.now() - Date.parse(k.lastUsed) < 86400e3).length;
  return t("tokens.told", { n: tokens.length, used });
}
