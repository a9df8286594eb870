// Analytics: the figures of a range, its busiest models in the course of it, and
// tables by model, by key and by token.
import { html, useState } from "../lib/preact.js";
import { get, send } from "../lib/api.js";
import { hour, zone } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { query, setQuery, withQuery } from "../lib/router.js";
import { save } from "../lib/save.js";
import { t } from "../lib/words.js";
import { Button, Providers, Seg } from "../parts/form.js";
import { Icon } from "../parts/icon.js";
import { PageHead } from "../parts/shell.js";
import { Blank, LoadError, Pager, Table } from "../parts/table.js";
import { LinkTabs } from "../parts/tabs.js";
import { toastError } from "../parts/toast.js";
import { Chart } from "./analytics/chart.js";
import { Figures } from "./analytics/figures.js";
import { tables } from "./analytics/tables.js";

const ranges = ["1h", "24h", "7d", "30d"];
const usual = { range: "24h", table: "models", sort: "-requests", pageSize: 20 };
const hourMs = 3600e3;
const largest = 200; // rows of a page that the API gives

const one = (value, of, or) => (of.includes(value) ? value : or);
const count = (text, or, most = Infinity) => (/^[1-9]\d*$/.test(text ?? "") ? Math.min(Number(text), most) : or);

/** What the address asks for. */
function asked() {
  const q = query.value;
  return {
    provider: one(q.provider, ["ollama", "openrouter"], "all"), range: one(q.range, ranges, usual.range), table: one(q.table, Object.keys(tables), usual.table),
    sort: q.sort ?? usual.sort, page: count(q.page, 1), pageSize: count(q.pageSize, usual.pageSize, largest), what: q.show === "failures" ? "failure" : "requests",
  };
}

/** What of it the API is asked for a table. */
const ofTable = (a) => ({ provider: a.provider, sort: a.sort, ...(tables[a.table].ranged ? { range: a.range, tz: zone() } : {}) });

/** The name that the server gives a file. */
const fileName = (response) => /filename="?([^";]+)/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "table.csv";

/** A button that saves all rows of the table that is shown. */
function Export({ asked: a }) {
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      const response = await send("GET", tables[a.table].path, { query: { ...ofTable(a), format: "csv" }, headers: { Accept: "text/csv" } });
      save(fileName(response), await response.blob());
    } catch (e) {
      toastError(e, t("analytics.export.failed"));
    }
    setBusy(false);
  };
  return html`<${Button} icon="download" busy=${busy} title=${t(`analytics.export.${a.table}`)} onClick=${run}>${t("analytics.export")}<//>`; // words: analytics.export.*
}

/** In place of rows. */
function None({ asked: a, total }) {
  if (total > 0) return html`<${Blank} title=${t("analytics.none.page")} acts=${html`<a class="btn" href=${withQuery({ page: null })}>${t("analytics.none.first")}</a>`} />`;
  if (a.table === "keys") return html`<${Blank} icon="keys" title=${t("analytics.none.keys")} acts=${html`<a class="btn" href="/dashboard/import"><${Icon} name="import" />${t("nav.import")}</a>`}>${t("analytics.none.keys.more")}<//>`;
  return html`<${Blank} icon="analytics" title=${t("analytics.none.requests")} acts=${html`
    ${a.range !== "30d" && html`<a class="btn" href=${withQuery({ range: "30d", page: null })}>${t("analytics.none.wider")}</a>`}
    <a class="btn" href="/dashboard/playground"><${Icon} name="playground" />${t("nav.playground")}</a>`}>${t("analytics.none.requests.more")}<//>`;
}

/** The table that is shown, with its tabs. rows says how many rows each has. */
function Tables({ asked: a, rows: counts, every }) {
  const of = tables[a.table];
  const { data, error, stale, reload } = useLoad(
    (signal) => get(of.path, { ...ofTable(a), page: a.page, pageSize: a.pageSize }, { signal }).then((answer) => ({ ...answer, table: a.table })),
    [a.table, ofTable(a), a.page, a.pageSize], { every },
  );
  const here = data?.table === a.table ? data : undefined; // rows of another table have other columns
  const rows = here?.[of.rows];
  const shown = { range: here?.range?.name ?? a.range, most: Math.max(0, ...(rows ?? []).map((r) => r.share)), cost: (rows ?? []).some((r) => r.cost > 0) };
  const number = (table) => (table === a.table && here && !stale ? here.total : counts?.[table]);
  return html`<section class="panel fits" aria-label=${t("analytics.tables")}>
    <${LinkTabs} label=${t("analytics.tables")} items=${Object.keys(tables).map((name) => ({
      href: withQuery(name === a.table ? { page: null } : { table: name === usual.table ? null : name, sort: null, page: null }), label: t(`analytics.tab.${name}`), count: number(name), current: name === a.table,
    }))} />
    ${a.table === "keys" && html`<p class="hint pad note"><${Icon} name="info" />${t("analytics.keys.ever")}</p>`}
    ${a.table === "tokens" && here?.range?.name === "1h" && html`<p class="hint pad note"><${Icon} name="info" />${t("analytics.tokens.hours", { at: hour(Math.floor(Date.parse(here.range.from) / hourMs) * hourMs) })}</p>`}
    ${error && here && html`<p class="late s-failed" role="status"><${Icon} name="offline" />${t("analytics.old", { message: error.message })}</p>`}
    ${error && !here
      ? html`<${LoadError} error=${error} retry=${reload} title=${t("analytics.table.error")} />`
      : rows?.length === 0 ? html`<${None} asked=${a} total=${here.total} />`
        : html`<${Table} label=${t(`analytics.tab.${a.table}`)} columns=${of.columns(shown)} rows=${rows} rowKey=${of.rowKey} fresh=${!stale} bones=${8}
            sort=${a.sort} onSort=${(sort) => setQuery({ sort: sort === usual.sort ? null : sort, page: null })} />
          ${here && html`<${Pager} page=${a.page} pageSize=${a.pageSize} total=${here.total} onChange=${(p) => setQuery({ page: p.page === 1 ? null : p.page, pageSize: p.pageSize === usual.pageSize ? null : p.pageSize })} />`}`}
  </section>`; // words: analytics.tab.*
}

export default function Analytics() {
  const a = asked();
  const every = a.range === "1h" ? 10e3 : 60e3; // ms between looks: what is shown grows
  const { data, error, stale, reload } = useLoad((signal) => get("/admin/analytics", { provider: a.provider, range: a.range, tz: zone() }, { signal }), [a.provider, a.range], { every });
  const narrowed = (change) => setQuery({ ...change, page: null });
  return html`<${PageHead} title=${t("nav.analytics")}>
      <${Providers} all value=${a.provider} onChange=${(p) => narrowed({ provider: p === "all" ? null : p })} />
      <${Seg} label=${t("analytics.range")} name="range" value=${a.range} onChange=${(r) => narrowed({ range: r === usual.range ? null : r })} options=${ranges.map((r) => [r, t(`analytics.range.${r}`)])} />
      <${Export} asked=${a} />
    <//>
    ${error && data && html`<div class="note-box s-resting" role="status"><${Icon} name="offline" /><div>${t("analytics.old", { message: error.message })}</div></div>`}
    ${error && !data
      ? html`<section class="panel"><${LoadError} error=${error} retry=${reload} title=${t("analytics.error")} /></section>`
      : html`<div class="stack" aria-busy=${stale}><${Figures} totals=${data?.totals} /><${Chart} data=${data} what=${a.what} /></div>`}
    <${Tables} asked=${a} rows=${data?.rows} every=${every} />`; // words: analytics.range.*
}
