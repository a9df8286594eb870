// A calm word where something beneath the pool is out of reach: requests are
// served all the same.
import { html } from "../../lib/preact.js";
import { hour } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Icon } from "../../parts/icon.js";

/** What is out of reach, a sentence each. */
function told(s) {
  const out = [];
  if (s.outage) out.push([t("overview.store.outage", { at: hour(s.outage.since) }), s.spooled > 0 && ` ${t("overview.store.waits", { n: s.spooled })}`]);
  if (s.redis && !s.redis.up) out.push(t("overview.store.redis", { at: hour(s.redis.since) }));
  return out.length > 0 ? out : s.degraded;
}

/** The word, or nothing; storage is that of the overview. */
export function Store({ storage }) {
  const lines = told(storage);
  return lines.length > 0 && html`<div class="note-box s-resting" role="status"><${Icon} name="server" /><div>${lines.map((l, i) => html`<p key=${i}>${l}</p>`)}</div></div>`;
}
