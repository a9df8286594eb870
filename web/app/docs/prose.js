// The prose of the OpenAPI document: paragraphs with **bold**, *stressed* and `code`.
import { html } from "../lib/preact.js";

function line(text) {
  const out = [];
  const pattern = /\*\*(.+?)\*\*|\*(.+?)\*|`(.+?)`/g;
  let from = 0;
  for (let m; (m = pattern.exec(text)) !== null; from = pattern.lastIndex) {
    out.push(text.slice(from, m.index));
    if (m[1] !== undefined) out.push(html`<b>${m[1]}</b>`);
    else if (m[2] !== undefined) out.push(html`<em>${m[2]}</em>`);
    else out.push(html`<code>${m[3]}</code>`);
  }
  out.push(text.slice(from));
  return out;
}

/** Draws prose. Nothing in it is taken for HTML. */
export const Prose = ({ text }) => text.split(/\n{2,}/).filter(Boolean).map((p) => html`<p class="prose" lang="en">${line(p)}</p>`);
