// The imports that were, the newest first.
import { html } from "../../lib/preact.js";
import { get } from "../../lib/api.js";
import { moment, number, stamp } from "../../lib/format.js";
import { useLoad } from "../../lib/load.js";
import { address, query, setQuery } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Blank, LoadError, Pager, Table } from "../../parts/table.js";
import { Ending } from "./run.js";
import { sourceName } from "./names.js";

const sizes = [20, 50, 100, 200];

/** Asks for a page of them; turn is anything that changes when there is a new one. */
export function useEarlier(turn) {
  const page = Math.max(1, Number.parseInt(query.value.page, 10) || 1);
  const asked = Number.parseInt(query.value.pageSize, 10);
  const pageSize = sizes.includes(asked) ? asked : sizes[0];
  return useLoad((signal) => get("/admin/jobs", { kind: "import", page, pageSize }, { signal }), [page, pageSize, turn]);
}

const who = (by) => (["api", "command", "schedule"].includes(by) ? t(`import.by.${by}`) : by); // words: import.by.*

/** A count of one that has ended. */
const count = (j, n) => (j.state === "running" ? html`<span class="muted">–</span>` : number(n ?? 0));

/** The list; list is what useEarlier gave, open the id of the import that is looked at. */
export function Earlier({ list: { data, error, loading, stale, reload }, open }) {
  const columns = [
    { id: "when", label: t("import.when"), class: "nowrap d", cell: (j) => html`<time datetime=${j.startedAt} title=${moment(j.startedAt)}>${stamp(j.startedAt)}</time>` },
    { id: "source", label: t("import.source"), class: "a cut source", cell: (j) => html`<a class="row-link" href=${address("/dashboard/import", { job: j.id })} title=${sourceName(j.source)}>${sourceName(j.source)}</a>` },
    { id: "provider", label: t("provider"), class: "muted c", cell: (j) => html`${providerName(j.provider)}${j.state === "done" && html`<span class="phone-only">${t("import.added.short", { n: j.counts.added ?? 0 })}</span>`}` },
    { id: "by", label: t("import.by"), class: "muted nowrap wide-only", cell: (j) => who(j.by) },
    { id: "added", label: t("import.added"), class: "num", cell: (j) => count(j, j.counts.added) },
    { id: "known", label: t("import.known"), class: "num", cell: (j) => count(j, j.counts.existing) },
    { id: "bad", label: t("import.bad.short"), class: "num", cell: (j) => count(j, (j.counts.bad ?? 0) + (j.counts.invalid ?? 0)) },
    { id: "result", label: t("import.state"), class: "b", cell: (j) => html`<${Ending} state=${j.state} />` },
  ];
  if (error && !data) return html`<section class="panel"><div class="panel-head"><h2>${t("import.earlier")}</h2></div><${LoadError} error=${error} retry=${reload} /></section>`;
  return html`<section class="panel fits" aria-label=${t("import.earlier")}>
    <div class="panel-head"><h2>${t("import.earlier")}</h2></div>
    ${data?.total === 0
      ? html`<${Blank} icon="import" title=${t("import.earlier.none")}>${t("import.earlier.none.more")}<//>`
      : html`<${Table} label=${t("import.earlier")} columns=${columns} rows=${data?.jobs} rowKey=${(j) => j.id} rowClass=${(j) => (j.id === open ? "is-open" : "")} bones=${4} fresh=${!(loading && stale)} />
        ${data && data.total > sizes[0] && html`<${Pager} page=${data.page} pageSize=${data.pageSize} total=${data.total} onChange=${({ page, pageSize }) => setQuery({ page: page === 1 ? "" : page, pageSize: pageSize === sizes[0] ? "" : pageSize })} />`}`}
  </section>`;
}
