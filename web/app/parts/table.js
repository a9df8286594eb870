// Tables with their four states, paged and sorted by the server.
//
// On a phone a row becomes two quiet lines (class "rows", with the cells .a and
// .b above, .c and .d below); as that changes how they are displayed, the
// tables say their ARIA roles themselves.
import { html, useId, useLayoutEffect, useRef, useState } from "../lib/preact.js";
import { number } from "../lib/format.js";
import { rich, t } from "../lib/words.js";
import { Icon } from "./icon.js";

/**
 * A table. columns are { id, label, class, head, sort, sr, cell(row, index) };
 * sort is the word that the API sorts by. label names the table, rows is
 * undefined while nothing has come yet. Then:
 *
 *   sort, onSort      what it is sorted by ("-created_at"), and how that is changed
 *   rowKey(row)       what tells rows apart
 *   rowClass(row)     "is-open" for the one that is open beside the table
 *   onOpen(row)       what a click beside the controls of a row does
 *   selected(row), onSelect(row, on), allSelected (true, false or "some"), onSelectAll(on), selectLabel(row): boxes to tick
 *   detail(row)       what is shown in a row of its own below a row, if anything
 *   bones             how many rows are shown while it loads
 *   fresh             false while what is shown is being replaced
 */
export function Table(p) {
  const ticks = p.onSelect !== undefined;
  const wide = p.columns.length + (ticks ? 1 : 0);
  return html`<${Slide}><table class="rows" role="table" aria-label=${p.label} aria-busy=${p.rows === undefined || p.fresh === false}>
    <thead role="rowgroup"><tr role="row">
      ${ticks && html`<th class="tick" role="columnheader"><${Tick} label=${t("table.page")} state=${p.allSelected} disabled=${!p.rows?.length} onChange=${p.onSelectAll} /></th>`}
      ${p.columns.map((c) => html`<${Head} key=${c.id} column=${c} sort=${p.sort} onSort=${p.onSort} />`)}
    </tr></thead>
    <tbody role="rowgroup">
      ${p.rows === undefined
        ? Array.from({ length: p.bones ?? 8 }, (_, i) => html`<${Bones} key=${i} n=${i} columns=${p.columns} ticks=${ticks} />`)
        : p.rows.map((row, i) => html`<${Row} key=${p.rowKey(row)} ...${p} row=${row} i=${i} ticks=${ticks} wide=${wide} />`)}
    </tbody>
  </table><//>`;
}

function Head({ column: c, sort, onSort }) {
  const by = sort?.replace(/^-/, "");
  const down = sort?.startsWith("-");
  const mine = c.sort !== undefined && by === c.sort;
  const next = mine ? (down ? c.sort : `-${c.sort}`) : c.first === "down" ? `-${c.sort}` : c.sort;
  return html`<th scope="col" role="columnheader" class=${c.head ?? c.class ?? ""} aria-sort=${mine ? (down ? "descending" : "ascending") : undefined}>
    ${c.sort !== undefined && onSort
      ? html`<button type="button" onClick=${() => onSort(next)}>${c.label}${mine && html`<${Icon} name=${down ? "down" : "up"} />`}</button>`
      : c.sr ? html`<span class="sr-only">${c.label}</span>` : c.label}
  </th>`;
}

/** Whether a click within a row was meant for the row, and not for a control in it or for marking text. */
const plainClick = (e) => !e.target.closest("a, button, input, label, select, summary") && getSelection().isCollapsed;

function Row({ row, i, columns, rowClass, onOpen, ticks, wide, selected, onSelect, selectLabel, detail }) {
  const chosen = ticks ? selected(row) : undefined;
  const more = detail?.(row);
  const marks = `${rowClass?.(row) ?? ""}`;
  return html`<tr role="row" class=${`${marks}${onOpen ? " opens" : ""}`.trim()} onClick=${onOpen && ((e) => plainClick(e) && onOpen(row))} aria-selected=${ticks ? String(chosen) : undefined}>
    ${ticks && html`<td class="tick" role="cell"><${Tick} label=${selectLabel(row)} state=${chosen} onChange=${(on, e) => onSelect(row, on, e)} /></td>`}
    ${columns.map((c) => html`<td key=${c.id} role="cell" class=${c.class ?? ""}>${c.cell(row, i)}</td>`)}
  </tr>
  ${more && html`<tr role="row" class="is-detail"><td role="cell" class="detail" colspan=${wide}>${more}</td></tr>`}`;
}

/** A box to tick; state "some" stands between on and off. */
function Tick({ label, state, disabled, onChange }) {
  const ref = useRef(null);
  useLayoutEffect(() => {
    ref.current.indeterminate = state === "some";
  });
  return html`<input ref=${ref} type="checkbox" aria-label=${label} checked=${state === true} disabled=${disabled} onClick=${(e) => onChange(e.target.checked, e)} />`;
}

const widths = ["w4", "w3", "w2", "w3", "w4"];

const Bones = ({ n, columns, ticks }) => html`<tr role="row">
  ${ticks && html`<td class="tick" role="cell"></td>`}
  ${columns.map((c, i) => html`<td key=${c.id} role="cell" class=${(c.class ?? "").replace(/\b(mono|num)\b/g, "")}><span class=${`bone ${widths[(n + i) % widths.length]}`}></span></td>`)}
</tr>`;

/** Something that may be wider than its room: it slides, and a fade says where more is. */
export function Slide({ children, class: more = "table-wrap" }) {
  const ref = useRef(null);
  const [ends, setEnds] = useState("");
  const look = () => {
    const e = ref.current;
    if (!e) return;
    const left = e.scrollLeft > 1;
    const right = e.scrollLeft + e.clientWidth < e.scrollWidth - 1;
    setEnds(`${left ? " more-left" : ""}${right ? " more-right" : ""}`);
  };
  useLayoutEffect(() => {
    const seen = new ResizeObserver(look);
    seen.observe(ref.current);
    if (ref.current.firstElementChild) seen.observe(ref.current.firstElementChild);
    return () => seen.disconnect();
  }, []);
  return html`<div ref=${ref} class=${more + ends} onScroll=${look} tabindex=${ends ? 0 : undefined}>${children}</div>`;
}

/** In place of a list that has nothing to show: an icon, what it means, and what to do next. */
export const Blank = ({ icon = "empty", title, children, acts, failed = false }) => html`<div class=${`blank${failed ? " s-failed" : ""}`} role=${failed ? "alert" : undefined}>
  <${Icon} name=${icon} /><h3>${title}</h3>${children && html`<p>${children}</p>`}${acts && html`<div class="btn-row">${acts}</div>`}
</div>`;

/** In place of a list that could not be loaded. */
export const LoadError = ({ error, retry, title = t("list.error") }) => html`<${Blank} failed icon="offline" title=${title}
  acts=${html`<button type="button" class="btn" onClick=${retry}><${Icon} name="refresh" />${t("retry")}</button>`}>
  ${error.request ? rich("error.request", { message: error.message, id: error.request }) : error.message}
<//>`;

const sizes = [20, 50, 100, 200];

/**
 * The pages of a list: page and pageSize of total, with onChange({ page, pageSize }).
 * Where everything fits on the smallest page, it only says how many there are.
 */
export function Pager({ page, pageSize, total, onChange }) {
  const id = useId();
  const pages = Math.max(1, Math.ceil(total / pageSize));
  const from = total === 0 ? 0 : (page - 1) * pageSize + 1;
  const to = Math.min(total, page * pageSize);
  const turn = (n) => onChange({ page: Math.min(pages, Math.max(1, n)), pageSize });
  const typed = (e) => {
    const n = Math.min(pages, Math.max(1, Number.parseInt(e.target.value, 10) || page));
    e.target.value = String(n);
    if (n !== page) turn(n);
  };
  return html`<div class="pager" role="navigation" aria-label=${t("pager.label")}>
    <span>${t("pager.range", { from, to, total })}</span>
    ${total > sizes[0] && html`<label>${t("pager.rows")} <select class="select" aria-label=${t("pager.size")} onChange=${(e) => onChange({ page: 1, pageSize: Number(e.target.value) })}>
      ${[...new Set([...sizes, pageSize])].sort((a, b) => a - b).map((n) => html`<option key=${n} value=${n} selected=${n === pageSize}>${number(n)}</option>`)}
    </select></label>`}
    ${pages > 1 && html`<div class="pages">
      <button type="button" class="btn small square" aria-label=${t("pager.previous")} title=${t("pager.previous")} disabled=${page <= 1} onClick=${() => turn(page - 1)}><${Icon} name="chevron-left" /></button>
      <label for=${id}>${t("pager.page")}</label><input id=${id} class="input" inputmode="numeric" value=${page} onChange=${typed} onKeyDown=${(e) => e.key === "Enter" && typed(e)} /><span>${t("pager.of", { pages })}</span>
      <button type="button" class="btn small square" aria-label=${t("pager.next")} title=${t("pager.next")} disabled=${page >= pages} onClick=${() => turn(page + 1)}><${Icon} name="chevron-right" /></button>
    </div>`}
  </div>`;
}
