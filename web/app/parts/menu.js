// Menus: a button that opens a popover with a few acts.
import { html, useCallback, useEffect, useId, useRef } from "../lib/preact.js";
import { Icon } from "./icon.js";

/**
 * A button (its label or icon) with a menu of items: { label, icon, run, href,
 * danger, disabled } or "line" for a line between them.
 */
export function Menu({ label, icon, items, class: more = "", square = false, disabled = false }) {
  const id = useId();
  const button = useRef(null);
  const menu = useRef(null);
  const place = useCallback(() => {
    const b = button.current.getBoundingClientRect();
    const m = menu.current;
    m.style.position = "fixed";
    m.style.inset = "auto";
    m.style.maxHeight = `${innerHeight - 16}px`;
    const size = m.getBoundingClientRect();
    const below = b.bottom + 4 + size.height <= innerHeight;
    const room = document.documentElement.clientWidth - 8;
    m.style.left = `${Math.max(8, b.left + size.width <= room ? b.left : Math.min(b.right, room) - size.width)}px`;
    m.style.top = `${below ? b.bottom + 4 : Math.max(8, b.top - size.height - 4)}px`;
    m.style.opacity = "";
  }, []);
  const follow = useCallback((on) => {
    for (const [what, capture] of [["scroll", true], ["resize", false]]) {
      if (on) addEventListener(what, place, capture);
      else removeEventListener(what, place, capture);
    }
  }, []);
  useEffect(() => () => follow(false), []);
  // Until it is placed it is not seen, as it is shown in the middle first.
  const before = (e) => {
    if (e.newState === "open") menu.current.style.opacity = "0"; // what is hidden takes no focus
  };
  const toggled = (e) => {
    follow(false);
    if (e.newState !== "open") return;
    place();
    follow(true);
    first();
  };
  const turn = (e) => {
    if (e.key === "Tab") {
      menu.current.hidePopover();
      return;
    }
    const entries = [...menu.current.querySelectorAll("[role=menuitem]:not(:disabled)")];
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    entries[(to + entries.length) % entries.length]?.focus();
  };
  const first = () => menu.current.querySelector("[role=menuitem]:not(:disabled)")?.focus();
  const strike = (e) => {
    if (e.key !== "ArrowDown" && e.key !== "ArrowUp") return;
    e.preventDefault();
    if (menu.current.matches(":popover-open")) first();
    else menu.current.showPopover({ source: button.current });
  };
  const run = (item) => {
    menu.current.hidePopover();
    button.current.focus();
    item.run?.();
  };
  return html`<button ref=${button} type="button" class=${`btn ${square ? "square " : ""}${more}`.trim()} popovertarget=${id} aria-haspopup="menu" aria-label=${square ? label : undefined} title=${square ? label : undefined} disabled=${disabled} onKeyDown=${strike}>
      ${icon && html`<${Icon} name=${icon} />`}${!square && label}</button>
    <div ref=${menu} id=${id} class="menu" popover role="menu" aria-label=${label} onBeforeToggle=${before} onToggle=${toggled} onKeyDown=${turn}>
      ${items.filter(Boolean).map((item, i) => item === "line" ? html`<hr key=${i} />` : html`<${Entry} key=${i} item=${item} run=${run} />`)}
    </div>`;
}

const Entry = ({ item, run }) => item.href
  ? html`<a role="menuitem" tabindex="-1" href=${item.href} download=${item.download} onClick=${() => run(item)}>${item.icon && html`<${Icon} name=${item.icon} />`}${item.label}</a>`
  : html`<button type="button" role="menuitem" tabindex="-1" class=${item.danger ? "danger" : ""} disabled=${item.disabled} onClick=${() => run(item)}>${item.icon && html`<${Icon} name=${item.icon} />`}${item.label}</button>`;
