// What a token may use, and how much of it was used today.
import { html } from "../../lib/preact.js";
import { number, share, shortText } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Meter } from "../../parts/state.js";

/** The limits that are numbers, as the API names them, with what was used of them. */
const measured = [
  ["requestsPerDay", "requestsToday"],
  ["tokensPerDay", "tokensToday"],
  ["concurrent", "running"],
];

/** How much of each limit was used: { id, used, limit, share }, the most used first. */
export const usage = (token) => measured
  .filter(([limit]) => token.limits?.[limit] > 0)
  .map(([id, field]) => ({ id, used: token.used?.[field] ?? 0, limit: token.limits[id] }))
  .map((u) => ({ ...u, share: Math.min(100, (100 * u.used) / u.limit) }))
  .sort((a, b) => b.share - a.share);

/** The state whose colour says how near a limit is. */
const tone = (of) => (of >= 100 ? "failed" : of >= 80 ? "resting" : "");

/** All limits in few words. */
function summary(limits) {
  if (!limits) return "";
  const words = [];
  for (const id of ["requestsPerMinute", "requestsPerDay", "tokensPerDay", "concurrent"]) {
    if (limits[id] > 0) words.push(t(`tokens.limit.${id}.short`, { n: id === "tokensPerDay" ? shortText(limits[id]) : number(limits[id]) })); // words: tokens.limit.*
  }
  if (limits.models.length > 0) words.push(t("tokens.limit.models.short", { n: limits.models.length }));
  if (limits.networks.length > 0) words.push(t("tokens.limit.networks.short", { n: limits.networks.length }));
  return words.join(t("list.comma"));
}

/** The limits in a table: in words, and how much of the one nearest to its end was used. */
export function LimitsCell({ token }) {
  const words = summary(token.limits);
  if (words === "") return html`<span class="muted">${t("tokens.limit.none")}</span>`;
  const [most] = usage(token);
  const used = most && t("tokens.used", { share: share(most.used, most.limit) });
  return html`<span class="limits" title=${used ? words + t("list.comma") + used : words}><span>${words}</span>${most && html`<${Meter} share=${most.share} state=${tone(most.share)} /><span class="sr-only">${used}</span>`}</span>`;
}

/** What was used of each limit, in a dialog. */
export function Used({ token }) {
  const list = usage(token);
  if (list.length === 0) return null;
  return html`<dl class="used">${list.map((u) => html`<div key=${u.id}><dt>${t(`tokens.limit.${u.id}`)}</dt>
    <dd>${t("tokens.used.of", { used: u.used, limit: u.limit })}</dd><${Meter} share=${u.share} state=${tone(u.share)} /></div>`)}</dl>`;
}
