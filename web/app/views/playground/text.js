// Draws what a model wrote: paragraphs, lists, headings and code. It is text
// throughout; nothing in it is taken for HTML.
import { html } from "../../lib/preact.js";
import { t } from "../../lib/words.js";
import { Copy } from "../../parts/copy.js";

const fence = /^\s{0,3}(```+|~~~+)\s*(\S*)/;
const item = /^(\s*)(?:([-*•+])|(\d{1,4})[.)])\s+(.*)$/;
const heading = /^#{1,6}\s+(.*?)\s*#*$/;
const row = /^\s*\|.*\|\s*$/;

/** The blocks of a text: { kind: "code" | "table" | "heading" | "list" | "text", … }. */
function blocks(text) {
  const out = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  let last = null; // the block that a line may belong to
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    const open = fence.exec(line);
    if (open) {
      const code = [];
      for (i++; i < lines.length && !lines[i].trim().startsWith(open[1]); i++) code.push(lines[i]);
      out.push({ kind: "code", language: open[2], text: code.join("\n") });
      last = null;
      continue;
    }
    last = placed(out, last, line);
  }
  return out;
}

/** Puts a line where it belongs, and returns the block that the next one may belong to. */
function placed(out, last, line) {
  const begun = (block) => {
    out.push(block);
    return block;
  };
  const entry = item.exec(line);
  if (line.trim() === "") return last?.kind === "list" ? last : null;
  if (heading.test(line)) {
    begun({ kind: "heading", text: heading.exec(line)[1] });
    return null;
  }
  if (row.test(line)) {
    if (last?.kind === "table") last.text += `\n${line.trim()}`;
    return last?.kind === "table" ? last : begun({ kind: "table", text: line.trim() });
  }
  if (entry) {
    const numbered = entry[3] !== undefined;
    const inside = last?.kind === "list" && entry[1].length >= 2;
    const list = last?.kind === "list" && (inside || last.numbered === numbered) ? last : begun({ kind: "list", numbered, start: Number(entry[3] ?? 1), items: [] });
    list.items.push({ text: entry[4], depth: inside ? Math.min(4, Math.floor(entry[1].length / 2)) : 0 });
    return list;
  }
  if (last?.kind === "list" && /^\s/.test(line)) {
    last.items.at(-1).text += `\n${line.trim()}`;
    return last;
  }
  if (last?.kind === "text") {
    last.text += `\n${line}`;
    return last;
  }
  return begun({ kind: "text", text: line });
}

/** A line with **bold** and `code`. */
function inline(text) {
  const out = [];
  const pattern = /\*\*(\S(?:[^*]*\S)?)\*\*|`([^`\n]+)`/g;
  let from = 0;
  for (let m; (m = pattern.exec(text)) !== null; from = pattern.lastIndex) {
    out.push(text.slice(from, m.index), m[1] !== undefined ? html`<b>${m[1]}</b>` : html`<code>${m[2]}</code>`);
  }
  out.push(text.slice(from));
  return out;
}

const indented = (depth) => (depth > 0 ? { marginInlineStart: `${depth * 1.25}rem` } : undefined);

function Block({ b, end }) {
  if (b.kind === "code") return html`<div class="code"><pre tabindex="0">${b.text}${end}</pre><${Copy} text=${b.text} label=${t("playground.copy.code")} /></div>`;
  if (b.kind === "table") return html`<div class="code"><pre tabindex="0">${b.text}${end}</pre></div>`;
  if (b.kind === "heading") return html`<h3>${inline(b.text)}${end}</h3>`;
  if (b.kind === "text") return html`<p>${inline(b.text)}${end}</p>`;
  const items = b.items.map((one, i) => html`<li key=${i} style=${indented(one.depth)}>${inline(one.text)}${i === b.items.length - 1 && end}</li>`);
  return b.numbered ? html`<ol start=${b.start}>${items}</ol>` : html`<ul>${items}</ul>`;
}

/** A text as it comes in; with caret, its end is marked. */
export function Text({ text, caret = false }) {
  const all = blocks(text);
  const end = caret && html`<span class="caret"></span>`;
  if (all.length === 0) return end && html`<p>${end}</p>`;
  return all.map((b, i) => html`<${Block} key=${i} b=${b} end=${i === all.length - 1 && end} />`);
}
