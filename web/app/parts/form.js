// Parts of forms.
import { html, useId } from "../lib/preact.js";
import { t } from "../lib/words.js";
import { Icon, Spinner } from "./icon.js";

/**
 * A labelled control. control is a function of { id, invalid, describedBy } that
 * draws it; help and error stand below and are read with it.
 */
export function Field({ label, help = "", error = "", control }) {
  const id = useId();
  const describedBy = error ? `${id}-error` : help ? `${id}-help` : undefined;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${control({ id, "aria-invalid": error ? "true" : undefined, "aria-describedby": describedBy })}
    ${help && !error && html`<span class="help" id=${`${id}-help`}>${help}</span>`}
    ${error && html`<span class="error" id=${`${id}-error`}><${Icon} name="failed" />${error}</span>`}
  </div>`;
}

/** A choice of a few, side by side: options is [value, label][]. */
export function Seg({ label, options, value, onChange, name }) {
  const id = useId();
  return html`<div class="seg" role="radiogroup" aria-label=${label}>
    ${options.map(([v, text]) => html`<label key=${v}><input type="radio" name=${name ?? id} value=${v} checked=${v === value} onChange=${() => onChange(v)} />${text}</label>`)}
  </div>`;
}

/** A button that waits for what it does. */
export const Button = ({ icon, busy = false, class: more = "", children, ...rest }) => html`<button type="button" ...${rest} class=${`btn ${more}`.trim()} aria-busy=${busy} disabled=${busy || rest.disabled}>
  ${busy ? html`<${Spinner} />` : icon && html`<${Icon} name=${icon} />`}${children}</button>`;

/** A button with an icon alone; its label is its hint as well. */
export const IconButton = ({ icon, label, class: more = "ghost", large = false, ...rest }) => html`<button type="button" ...${rest} class=${`btn square ${more}`.trim()} aria-label=${label} title=${label}><${Icon} name=${icon} large=${large} /></button>`;

/** A field for a search: Escape and the cross empty it, / brings one here. */
export function Search({ label, placeholder, value, onInput }) {
  return html`<div class="with-icon"><${Icon} name="search" />
    <input class="input" type="search" data-search aria-label=${label} placeholder=${placeholder} value=${value} autocomplete="off" spellcheck=${false}
      onInput=${(e) => onInput(e.target.value)} onKeyDown=${(e) => { if (e.key === "Escape" && value !== "") { e.stopPropagation(); onInput(""); } }} />
    ${value === "" && html`<kbd class="hide-phone" aria-hidden="true">/</kbd>`}
  </div>`;
}

addEventListener("keydown", (e) => {
  if (e.key !== "/" || e.metaKey || e.ctrlKey || e.altKey || e.defaultPrevented) return;
  if (e.target instanceof Element && e.target.closest("input, textarea, select, [contenteditable], dialog")) return;
  const field = document.querySelector("[data-search]");
  if (!field) return;
  e.preventDefault();
  field.focus();
  field.select();
});

/** The names of the providers, which are the same in every language. */
export const providerName = (p) => ({ ollama: "Ollama", openrouter: "OpenRouter" })[p] ?? t("provider.all");

/** The switch of providers; with all, everything together can be chosen. */
export const Providers = ({ value, onChange, all = false }) => html`<${Seg} label=${t("provider")} name="provider" value=${value} onChange=${onChange}
  options=${[...(all ? [["all", t("provider.all")]] : []), ["ollama", "Ollama"], ["openrouter", "OpenRouter"]]} />`;
