// A field that completes what is typed from a long list, and takes other texts
// as well: https://www.w3.org/WAI/ARIA/apg/patterns/combobox/ (list autocomplete).
import { html, useEffect, useId, useRef, useState } from "../lib/preact.js";
import { t } from "../lib/words.js";
import { Icon } from "./icon.js";

const most = 100; // options that are drawn

/** The options that hold every word of a text, those that begin with it first. */
function fitting(options, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fit = options.filter((o) => words.every((w) => o.toLowerCase().includes(w)));
  const first = (o) => (o.toLowerCase().startsWith(text.toLowerCase().trim()) ? 0 : 1);
  return words.length === 0 ? fit : fit.sort((a, b) => first(a) - first(b));
}

/**
 * The control of a Field: attributes are those that the Field gives, options
 * texts, value the chosen one. onChange is called with what was chosen, or with
 * what was typed when the field is left.
 */
export function Combobox({ attributes, options, value, onChange, placeholder = "", disabled = false }) {
  const [typed, setTyped] = useState(null); // null: nothing since it was chosen
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const id = useId();
  const box = useRef(null);
  const list = useRef(null);
  const fit = open ? fitting(options, typed ?? "") : [];
  const drawn = fit.slice(0, most);

  useEffect(() => {
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }, [at, open]);

  const begin = () => {
    if (open) return;
    setOpen(true);
    const chosen = typed === null ? options.indexOf(value) : -1;
    setAt(chosen < most ? chosen : -1);
  };
  const end = () => {
    setOpen(false);
    setAt(-1);
  };
  const choose = (text) => {
    setTyped(null);
    end();
    if (text !== value) onChange(text);
  };
  const leave = () => {
    if (typed !== null && typed.trim() !== "") choose(typed.trim());
    setTyped(null);
    end();
  };
  const move = (to) => setAt(drawn.length === 0 ? -1 : (to + drawn.length) % drawn.length);
  const struck = (e) => {
    if (e.isComposing) return;
    const act = {
      ArrowDown: () => (open ? move(at + 1) : begin()),
      ArrowUp: () => (open ? move(at < 0 ? -1 : at - 1) : begin()),
      Enter: () => open && choose(drawn[at] ?? (typed?.trim() || value)),
      Escape: () => open && (setTyped(null), end()),
    }[e.key];
    if (!act || (!open && e.key !== "ArrowDown" && e.key !== "ArrowUp")) return;
    e.preventDefault();
    e.stopPropagation();
    act();
  };
  return html`<div class="combo" ref=${box}>
    <input ...${attributes} class="input" role="combobox" autocomplete="off" autocapitalize="off" spellcheck=${false} disabled=${disabled} placeholder=${placeholder}
      aria-expanded=${String(open)} aria-controls=${`${id}-list`} aria-autocomplete="list" aria-activedescendant=${open && at >= 0 ? `${id}-${at}` : undefined}
      value=${typed ?? value} title=${value} onFocus=${(e) => e.target.select()} onClick=${begin} onKeyDown=${struck} onBlur=${leave}
      onInput=${(e) => { setTyped(e.target.value); setOpen(true); setAt(-1); }} />
    <${Icon} name="chevron-down" />
    <ul ref=${list} id=${`${id}-list`} role="listbox" aria-label=${t("combobox.list")} hidden=${!open || options.length === 0} onMouseDown=${(e) => e.preventDefault()}>
      ${drawn.map((o, i) => html`<li key=${o} id=${`${id}-${i}`} role="option" aria-selected=${String(i === at)} class=${o === value ? "is-chosen" : ""} onClick=${() => choose(o)}>${o}</li>`)}
    </ul>
    ${open && (fit.length === 0 ? options.length > 0 && typed && html`<p class="combo-note" role="status">${t("combobox.none")}</p>` : fit.length > most && html`<p class="combo-note">${t("combobox.more", { n: fit.length - most })}</p>`)}
  </div>`;
}
