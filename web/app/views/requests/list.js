// The table of requests.
import { html, useLayoutEffect, useRef } from "../../lib/preact.js";
import { middle, millisText, moment, stamp, when } from "../../lib/format.js";
import { withQuery } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { Http } from "../../parts/state.js";
import { endedAt } from "../../parts/time.js";
import { Dots } from "../../parts/trail.js";
import { tokensText } from "./detail.js";

/** When a request ended, by which they are listed: the time, with the day where it is another one. */
function Ended({ row }) {
  const at = endedAt(row);
  const today = new Date(at).toDateString() === new Date().toDateString();
  return html`<time datetime=${at} title=${moment(at)}>${today ? when(at) : stamp(at)}</time>`;
}

const badge = { cut: "failed", client_closed: "disabled" };

/** The status that the client saw, and how it ended where that says less than all. */
const Status = ({ row }) => html`<${Http} status=${row.status} seen />${badge[row.outcome] && html` <span class=${`badge s-${badge[row.outcome]}`}>${t(`requests.badge.${row.outcome}`)}</span>`}`; // words: requests.badge.*

const time = (ms) => (ms > 0 ? millisText(ms) : "–");

/** The columns. opened says whether a row is open. */
export const columns = (opened) => [
  { id: "at", label: t("requests.time"), class: "nowrap d", cell: (r) => html`<a class="row-link" href=${withQuery({ open: opened(r) ? null : r.id })} aria-expanded=${String(opened(r))}><${Ended} row=${r} /></a>` },
  { id: "status", label: t("requests.status"), class: "b nowrap", cell: (r) => html`${r.attempts > 1 && html`<span class="phone-only"><${Dots} trail=${r.trail} /> </span>`}<${Status} row=${r} />` },
  { id: "model", label: t("requests.model"), head: "a", class: "mono a name-cut", cell: (r) => html`<span title=${r.model}>${middle(r.model) || "–"}</span>` },
  { id: "path", label: t("requests.path"), head: "mid-only", class: "mono muted c mid-only name-cut", cell: (r) => html`<span title=${r.path}>${r.path}</span>` },
  { id: "token", label: t("requests.token"), head: "", class: "name-cut tight", cell: (r) => html`<span title=${r.token.name}>${r.token.name || r.token.id || "–"}</span>` },
  { id: "attempts", label: t("requests.attempts"), cell: (r) => html`<${Dots} trail=${r.trail} />` },
  { id: "first", label: t("requests.first"), class: "num mid-only", cell: (r) => time(r.firstByteMs) },
  { id: "duration", label: t("requests.duration"), class: "num", cell: (r) => time(r.durationMs) },
  { id: "tokens", label: t("requests.tokens.head"), head: "num mid-only", class: "num muted mid-only", cell: (r) => tokensText(r) || "–" },
];

/**
 * Keeps in its place what is looked at while rows come in above it: the open row
 * where it is seen, else, once one has scrolled down, the first row that is seen.
 * Returns a ref for the list and the function to call before rows come in.
 */
export function useAnchor(rows) {
  const list = useRef(null);
  const kept = useRef(null);
  useLayoutEffect(() => {
    const one = kept.current;
    kept.current = null;
    if (!one?.row.isConnected) return;
    const moved = one.row.getBoundingClientRect().top - one.top;
    if (moved !== 0) scrollBy({ top: moved, behavior: "instant" });
  }, [rows]);
  const hold = () => {
    const seen = (row) => {
      const r = row.getBoundingClientRect();
      return r.bottom > 0 && r.top < innerHeight;
    };
    const all = [...(list.current?.querySelectorAll("tbody > tr") ?? [])];
    const at = all.findIndex((row) => row.classList.contains("is-open"));
    const open = at < 0 ? undefined : [all[at], all[at + 1]].find((row) => row && seen(row));
    const row = open ?? (all[0]?.getBoundingClientRect().top < 0 ? all.find(seen) : undefined);
    kept.current = row ? { row, top: row.getBoundingClientRect().top } : null;
  };
  return [list, hold];
}
