// Tabs, as links (each has an address) or as a tab list that stays on the page.
import { html, useId } from "../lib/preact.js";
import { number } from "../lib/format.js";
import { Icon } from "./icon.js";
import { Slide } from "./table.js";

/** Tabs with addresses: items are { href, label, icon, state, count, current }. */
export const LinkTabs = ({ label, items }) => html`<nav aria-label=${label}><${Slide} class="tabs">
  ${items.map((i) => html`<a key=${i.label} href=${i.href} class=${i.state ? `s-${i.state}` : ""} aria-current=${i.current ? "page" : undefined}>
    ${i.icon && html`<${Icon} name=${i.icon} />`}${i.label}${i.count !== undefined && html` <span class="n">${number(i.count)}</span>`}</a>`)}
<//></nav>`;

/** A tab list: items are [value, label][]; panel draws what belongs to the chosen one. */
export function Tabs({ label, items, value, onChange, panel, end, inset = true }) {
  const id = useId();
  const turn = (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    e.preventDefault();
    const at = items.findIndex(([v]) => v === value);
    const next = (at + step + items.length) % items.length;
    onChange(items[next][0]);
    e.currentTarget.querySelectorAll("[role=tab]")[next].focus();
  };
  return html`<div class=${`tabs${inset ? " inset" : ""}`} role="tablist" aria-label=${label} onKeyDown=${turn}>
    ${items.map(([v, text]) => html`<button key=${v} type="button" role="tab" id=${`${id}-${v}`} aria-selected=${String(v === value)} aria-controls=${`${id}-panel`} tabindex=${v === value ? 0 : -1} onClick=${() => onChange(v)}>${text}</button>`)}
    ${end && html`<span class="end">${end}</span>`}
  </div>
  ${panel && html`<div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${value}`}>${panel}</div>`}`;
}
