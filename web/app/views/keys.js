// The keys: a table that the server pages, what is done with many of them, and
// the story of one beside it.
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../lib/preact.js";
import { get } from "../lib/api.js";
import { figures } from "../lib/live.js";
import { useLoad } from "../lib/load.js";
import { address, query, setQuery } from "../lib/router.js";
import { asSent } from "../lib/secret.js";
import { t } from "../lib/words.js";
import { Providers, providerName } from "../parts/form.js";
import { Icon } from "../parts/icon.js";
import { Menu } from "../parts/menu.js";
import { PageHead } from "../parts/shell.js";
import { stateName } from "../parts/state.js";
import { Blank, LoadError, Pager, Table } from "../parts/table.js";
import { matching, named } from "./keys/acts.js";
import { AddOne } from "./keys/add.js";
import { AskDelete, AskDisable, AskEnable, AskVerify } from "./keys/ask.js";
import { Bulk } from "./keys/bulk.js";
import { useChoice } from "./keys/choice.js";
import { Export } from "./keys/export.js";
import { chosenBy, filtersNow, narrowed, orders, secretSearch, setFilters, setPage, unfilter } from "./keys/filter.js";
import { Tabs, Toolbar, columns } from "./keys/list.js";
import { useFresh, useSteady, useWalk } from "./keys/living.js";
import { Pane } from "./keys/pane.js";
import { Run } from "./keys/run.js";

const dialogs = { delete: AskDelete, enable: AskEnable, disable: AskDisable, verify: AskVerify, export: Export, add: AddOne };

/** In place of the rows where there are none. */
function None({ filters }) {
  const clear = html`<button type="button" class="btn" onClick=${unfilter}>${t(filters.search ? "keys.none.clear" : "keys.none.all")}</button>`;
  if (filters.search) return html`<${Blank} icon="search" title=${t("keys.none.search", { search: filters.search })} acts=${clear}>${t("keys.none.search.more")}<//>`;
  if (filters.status && !narrowed(filters)) return html`<${Blank} icon=${filters.status} title=${t("keys.none.state", { state: stateName(filters.status) })} acts=${clear} />`;
  return html`<${Blank} icon="filter" title=${t("keys.none.filter")} acts=${clear} />`;
}

const Empty = ({ provider, add }) => html`<${Blank} icon="keys" title=${t("keys.empty")}
  acts=${html`<a class="btn primary" href=${address("/dashboard/import", { provider })}><${Icon} name="plus" />${t("keys.add")}</a>
    <button type="button" class="btn" onClick=${add}>${t("keys.add.one")}</button>`}>${t("keys.empty.more", { provider: providerName(provider) })}<//>`;

/** What stands at the top: the provider, and the ways to add keys. */
const Head = ({ provider, add }) => html`<${PageHead} title=${t("nav.keys")}>
  <${Providers} value=${provider} onChange=${(p) => { secretSearch.value = ""; setQuery({ provider: p === "ollama" ? null : p, page: null, key: null, category: null, reason: null, search: null, job: null }); }} />
  <span class="joined-btns"><a class="btn primary" href=${address("/dashboard/import", { provider })}><${Icon} name="plus" />${t("keys.add")}</a>
    <${Menu} label=${t("keys.add.more")} icon="chevron-down" square class="primary" items=${[
      { label: t("keys.add.one"), icon: "keys", run: add },
      { label: t("keys.add.file"), icon: "import", href: address("/dashboard/import", { provider }) },
    ]} /></span>
<//>`;

const listOf = (filters) => async (signal) => {
  const { provider, status, category, reason, search, sort, page, pageSize } = filters;
  const asked = { provider, status, category, reason, search: await asSent(search), sort, page, pageSize };
  return { ...(await get("/admin/api-keys", asked, { signal })), provider };
};

export default function View() {
  const filters = filtersNow();
  const { provider, status, category, reason, search, sort, page, pageSize } = filters;
  const scope = JSON.stringify([provider, status, category, reason, search]);
  const { data, error, stale, reload } = useLoad(listOf(filters), [scope, sort, page, pageSize]);
  const [turn, setTurn] = useState(0);
  const families = useLoad((signal) => get("/admin/api-keys/categories", { provider }, { signal }), [provider, data?.total, turn]);
  const [asked, setAsked] = useState(null);
  const typing = useRef(0);
  const entered = useRef(false);
  const known = data?.provider === provider ? data : undefined;
  const steady = useSteady(known?.api_keys, `${scope} ${sort} ${page} ${pageSize}`);
  const rows = steady.rows;
  const choice = useChoice(scope, rows ?? []);
  const open = query.value.key ?? "";

  const again = useCallback(() => {
    reload();
    setTurn((n) => n + 1);
  }, [reload]);
  useFresh(provider, () => choice.any || asked !== null || Date.now() - typing.current < 2000, again);
  const changed = () => {
    steady.release();
    again();
  };
  const done = () => {
    choice.clear();
    changed();
  };
  const begun = (job) => {
    choice.clear();
    setQuery({ job: job.id }, { replace: true });
  };
  useEffect(() => {
    // A page beyond the last, as after keys were deleted: the last one.
    if (known && !stale && known.api_keys.length === 0 && known.total > 0) setQuery({ page: Math.ceil(known.total / pageSize) }, { replace: true });
  }, [data, stale]);

  const target = choice.all ? matching(provider, chosenBy(filters), known?.total ?? 0) : named(provider, choice.rows);
  const ask = (what, of) => setAsked({ what, of, ticked: choice.any });
  const askOne = (what, of) => setAsked({ what, of, ticked: false });
  const add = () => ask("add", null);
  const close = useCallback(() => {
    const id = query.value.key;
    setQuery({ key: null });
    requestAnimationFrame(() => (document.getElementById(`row-${id}`) ?? document.getElementById("content"))?.focus({ preventScroll: true }));
  }, []);
  const openRow = (row, replace) => {
    entered.current = true;
    setQuery({ key: row.id }, { replace });
  };
  useWalk(rows, open, openRow);
  useEffect(() => () => {
    secretSearch.value = "";
  }, []);

  const finished = () => {
    if (asked.what === "delete" && asked.of.ids?.includes(open)) close();
    if (asked.ticked) done();
    else changed();
  };

  const states = figures.value?.providers?.find((p) => p.provider === provider);
  const empty = known?.total === 0 && !stale && !status && !narrowed(filters);
  const Asks = asked && dialogs[asked.what];
  const heads = useMemo(columns, [t("keys.key"), query.value]);
  return html`
    <${Head} provider=${provider} add=${add} />
    ${states?.enabled === false && html`<div class="note-box s-resting"><${Icon} name="info" /><div>${t("keys.outside.off", { provider: providerName(provider) })}</div></div>`}
    <${Run} provider=${provider} ended=${changed} />
    <div class=${open ? "split" : "stack"}>
      <section class="panel fits keys" aria-label=${t("nav.keys")}>
        ${!empty && html`<${Tabs} filters=${filters} counts=${states?.states} total=${stale ? undefined : known?.total} />
          <${Toolbar} filters=${filters} families=${families.data} typing=${typing} onExport=${known?.total > 0 ? () => ask("export", matching(provider, chosenBy(filters), known.total)) : undefined} />`}
        ${choice.any && html`<${Bulk} choice=${choice} total=${known?.total ?? 0} target=${target} ask=${ask} begun=${begun} done=${done} />`}
        ${error && known && html`<div class="note-box s-failed flat" role="alert"><${Icon} name="offline" /><div>${t("keys.old", { message: error.message })}</div>
          <button type="button" class="btn small" onClick=${reload}>${t("retry")}</button></div>`}
        ${empty ? html`<${Empty} provider=${provider} add=${add} />`
          : error && !known ? html`<${LoadError} error=${error} retry=${reload} />`
            : known && known.total === 0 && !stale ? html`<${None} filters=${filters} />`
              : html`<div ...${steady.box}><${Table} label=${t("nav.keys")} columns=${heads} rows=${rows} rowKey=${(k) => k.id} fresh=${!stale} bones=${12}
                  rowClass=${(k) => (k.id === open ? "is-open" : "")} onOpen=${(k) => openRow(k)} sort=${sort} onSort=${(by) => setFilters({ sort: by === orders[0] ? null : by })}
                  selected=${choice.has} onSelect=${choice.pick} allSelected=${choice.page} onSelectAll=${choice.pickPage} selectLabel=${(k) => t("keys.select", { key: k.api_key, account: k.username })} /></div>
                ${known && html`<${Pager} page=${page} pageSize=${pageSize} total=${known.total} onChange=${setPage} />`}`}
      </section>
      ${open && html`<${Pane} id=${open} provider=${provider} turn=${turn} ask=${askOne} done=${changed} onClose=${close} entered=${entered.current} />`}
    </div>
    ${Asks && html`<${Asks} key=${asked.what} target=${asked.of} provider=${provider} begun=${begun} done=${finished} onClose=${() => setAsked(null)} />`}`;
}
