// The requests of late: live or paused, by outcome, model, token and key; one
// opens into its attempts.
import { html, useCallback, useEffect, useMemo, useRef } from "../lib/preact.js";
import { get } from "../lib/api.js";
import { bytes, dated } from "../lib/format.js";
import { figures, link } from "../lib/live.js";
import { useLoad } from "../lib/load.js";
import { go, query, setQuery, withQuery } from "../lib/router.js";
import { rich, t } from "../lib/words.js";
import { Button, Providers } from "../parts/form.js";
import { Icon } from "../parts/icon.js";
import { LiveMark, PageHead } from "../parts/shell.js";
import { Blank, LoadError, Table } from "../parts/table.js";
import { Detail } from "./requests/detail.js";
import { rowKey, useFeed } from "./requests/feed.js";
import { Tabs, Toolbar, filtered, unfilter } from "./requests/filters.js";
import { columns, useAnchor } from "./requests/list.js";

const asked = ["status", "model", "token", "key", "slow"];

/** How many requests are in flight, of the provider that is shown. */
function InFlight({ provider }) {
  const now = figures.value;
  if (!now || link.value === "off" || link.value === "away") return html`<${LiveMark} />`;
  const of = now.providers?.find((p) => p.provider === provider);
  return html`<span class=${`live is-${link.value}`} title=${t(`live.${link.value}.more`)}>${t("requests.flight", { n: of ? of.inFlight : now.inFlight })}</span>`; // words: live.*
}

/** What the log keeps, and since when. */
function Keeps({ log }) {
  if (!log) return null;
  const kept = t(`requests.log.${log.mode}`); // words: requests.log.*
  const since = log.since ? t("requests.log.since", { n: log.entries, since: dated(log.since), size: bytes(log.bytes) }) : "";
  return html`<span class="hint end" title=${[since, t("requests.log.how")].filter(Boolean).join("\n")}><a href="/dashboard/settings?q=REQUEST_LOG">${kept}</a></span>`;
}

/** In place of rows: why there are none, and what to do. */
function None({ filters, log, before }) {
  if (before) return html`<${Blank} icon="requests" title=${t("requests.none.older")} acts=${html`<a class="btn" href=${withQuery({ before: null })}>${t("requests.newest")}</a>`} />`;
  if (log?.mode === "off") return html`<${Blank} icon="pause" title=${t("requests.none.off")} acts=${html`<a class="btn" href="/dashboard/settings?q=REQUEST_LOG"><${Icon} name="settings" />${t("nav.settings")}</a>`}>${rich("requests.none.off.more")}<//>`;
  if (filtered(filters)) return html`<${Blank} icon="filter" title=${t("requests.none.match")} acts=${html`<button type="button" class="btn" onClick=${unfilter}>${t("requests.unfilter")}</button>`}>${log?.mode === "failures" && rich("requests.none.failures.more")}<//>`;
  if (log?.mode === "failures") return html`<${Blank} icon="active" title=${t("requests.none.failures")}>${rich("requests.none.failures.more")}<//>`;
  return html`<${Blank} icon="requests" title=${t("requests.none")} acts=${html`<a class="btn" href="/dashboard/playground"><${Icon} name="playground" />${t("nav.playground")}</a>`}>${t("requests.none.more")}<//>`;
}

const cameFrom = new Map(); // the page from which one went to an older one, by cursor

/** Older and newer pages. They have addresses, so that the back button goes through them, too. */
function Pages({ before, next, shown, loading }) {
  const newer = cameFrom.get(before) ?? "";
  const older = () => {
    cameFrom.set(next, before);
    setQuery({ before: next, open: null });
    scrollTo(0, 0);
  };
  return html`<div class="pager" role="navigation" aria-label=${t("pager.label")}>
    <span>${before ? t("requests.page.older", { n: shown }) : t("requests.page.first", { n: shown })}</span>
    <div class="pages">
      <button type="button" class="btn small" disabled=${!before} onClick=${() => go(withQuery({ before: newer || null, open: null }))}><${Icon} name="chevron-left" />${before && !cameFrom.has(before) ? t("requests.newest") : t("requests.newer")}</button>
      <button type="button" class="btn small" disabled=${!next || loading} onClick=${older}>${t("requests.older")}<${Icon} name="chevron-right" /></button>
    </div>
  </div>`;
}

/** What waits while the list is paused. */
const Waiting = ({ n, overflow, letIn }) => html`<div class="waiting" role="status">${n === 0 ? t("requests.waiting.none") : html`<button type="button" class="btn small" onClick=${letIn}><${Icon} name="up" />${overflow ? t("requests.waiting.many", { n }) : t("requests.waiting", { n })}</button>`}</div>`;

/** The request that the address names; undefined data while it is on its way. */
function useOpened(id) {
  const load = useLoad((signal) => get(`/admin/requests/${encodeURIComponent(id)}`, {}, { signal }), [id], { on: id !== "" });
  return load.stale ? { ...load, data: undefined, error: load.loading ? null : load.error } : load;
}

/** Shows what a deep link opens, once. */
function useReveal(list, there) {
  const done = useRef(false);
  useEffect(() => {
    if (done.current || !there) return;
    done.current = true;
    list.current?.querySelector("tr.is-open")?.scrollIntoView({ block: "nearest" });
  }, [there]);
}

export default function Requests() {
  const q = query.value;
  const filters = Object.fromEntries(asked.filter((name) => q[name]).map((name) => [name, q[name]]));
  const provider = ["ollama", "openrouter"].includes(q.provider) ? q.provider : "all";
  if (provider !== "all") filters.provider = provider;
  const before = q.before ?? "";
  const open = q.open ?? "";
  const paused = q.paused !== undefined;
  const anchor = useRef(() => {});
  const hold = useCallback(() => anchor.current(), []);
  const feed = useFeed(filters, { before, paused, open, hold });
  const opened = useOpened(open);

  const inList = open !== "" && feed.fresh ? feed.rows?.find((r) => r.id === open) : undefined;
  const gone = open !== "" && opened.error?.status === 404;
  const apart = open !== "" && !inList && !gone && feed.rows !== undefined && feed.fresh && (opened.data || opened.error);
  const rows = useMemo(() => (feed.rows && apart && opened.data ? [opened.data, ...feed.rows] : feed.rows), [feed.rows, apart, opened.data]);
  const [list, look] = useAnchor(rows);
  anchor.current = look;
  useReveal(list, inList && opened.data);

  const openKey = inList ? rowKey(inList) : apart && opened.data ? rowKey(opened.data) : "";
  const isOpen = (row) => rowKey(row) === openKey;
  const masked = feed.rows?.find((r) => r.key === filters.key)?.apiKey;
  const press = (row) => setQuery({ open: isOpen(row) ? null : row.id });
  const pause = () => setQuery({ paused: paused ? null : "true" }, { replace: true });

  return html`<${PageHead} title=${t("nav.requests")} sub=${html`<${InFlight} provider=${provider} />`}>
      <${Providers} all value=${provider} onChange=${(p) => setQuery({ provider: p === "all" ? null : p, before: null, open: null })} />
      <${Button} icon=${paused ? "play" : "pause"} aria-pressed=${String(paused)} onClick=${pause}>${paused ? t("requests.resume") : t("requests.pause")}<//>
    <//>
    ${gone && html`<div class="note-box s-resting" role="status"><${Icon} name="info" /><div>${feed.log?.since ? t("requests.gone.since", { id: open, since: dated(feed.log.since) }) : t("requests.gone", { id: open })}</div>
      <button type="button" class="btn small ghost square" aria-label=${t("close")} title=${t("close")} onClick=${() => setQuery({ open: null }, { replace: true })}><${Icon} name="close" /></button></div>`}
    <section class="panel fits requests" ref=${list} aria-label=${t("nav.requests")}>
      <${Tabs} filters=${filters} counts=${feed.counts} />
      <${Toolbar} filters=${filters} rows=${feed.rows} masked=${masked}><${Keeps} log=${feed.log} /><//>
      ${feed.rows && (feed.error || feed.late) && html`<p class="late s-failed" role="status"><${Icon} name="offline" />${t("requests.late", { message: (feed.error ?? feed.late).message })}</p>`}
      ${paused && before === "" && html`<${Waiting} n=${feed.pending.length} overflow=${feed.overflow} letIn=${feed.letIn} />`}
      ${!feed.rows && feed.error
        ? html`<${LoadError} error=${feed.error} retry=${feed.reload} title=${t("requests.list.error")} />`
        : html`${rows?.length === 0 ? html`<${None} filters=${filters} log=${feed.log} before=${before} />` : html`<${Table} label=${t("nav.requests")} columns=${columns(isOpen)} rows=${rows} rowKey=${rowKey} bones=${12} fresh=${feed.fresh && !feed.loading}
            rowClass=${(r) => (isOpen(r) ? "is-open" : "")} onOpen=${press} detail=${(r) => isOpen(r) && html`<${Detail} load=${opened} apart=${apart} />`} />`}
          ${rows && html`<${Pages} before=${before} next=${feed.next} shown=${rows.length} loading=${!feed.fresh} />`}`}
    </section>`;
}
