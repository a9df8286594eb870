// Icons, from the sprite, and the mark of the program.
import { html } from "../lib/preact.js";

const sprite = new URL("../../style/icons.svg", import.meta.url).href;

/** An icon by its name in the sprite. It is decoration: the words beside it, or the label of its button, say what it means. */
export const Icon = ({ name, large = false, class: more = "" }) =>
  html`<svg class=${`icon${large ? " large" : ""} ${more}`.trim()} aria-hidden="true"><use href=${`${sprite}#${name}`} /></svg>`;

/** A turning icon: something is on its way. */
export const Spinner = () => html`<${Icon} name="spinner" class="spin" />`;

const on = [[4, 4], [10, 4], [4, 10], [10, 10], [16, 10], [4, 16], [16, 16]];
const off = [[16, 4], [10, 16]];

/** The mark: a pool of keys of which some are out. */
export const Mark = () => html`<svg class="mark" viewBox="0 0 20 20" aria-hidden="true">
  <g class="on">${on.map(([x, y]) => html`<circle cx=${x} cy=${y} r="2.4" />`)}</g>
  ${off.map(([x, y]) => html`<circle class="off" cx=${x} cy=${y} r="1.8" />`)}
</svg>`;
