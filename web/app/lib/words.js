// The words of the pages, in the language of the reader. Components that call
// t or rich are drawn anew when the language changes.
import { batch, html, signal } from "./preact.js";

const dictionaries = {
  en: () => import("../../words/en.js"),
  zh: () => import("../../words/zh.js"),
};

/** The language of the pages, "en" or "zh". */
export const language = signal("en");
const words = signal({});

/** The language as browsers name it: for Intl, and for <html lang>. */
export const locale = () => (language.value === "zh" ? "zh-CN" : "en-GB");

let wanted = "";

/** Loads a language and shows it, unless another one is wanted by then. */
export async function speak(code) {
  wanted = code;
  const loaded = await dictionaries[code]();
  if (wanted !== code) return;
  batch(() => {
    words.value = loaded.default;
    language.value = code;
  });
  document.documentElement.lang = code === "zh" ? "zh-CN" : "en";
}

/** The language that the page begins with; early.js chose it. */
export const firstLanguage = () => (document.documentElement.lang.startsWith("zh") ? "zh" : "en");

/** Speaks another language from now on, also the next time. It throws where the words do not come. */
export async function choose(code) {
  await speak(code);
  try {
    localStorage.setItem("language", code);
  } catch {
    // storage is switched off: it holds for this page
  }
}

// Another window of this browser chose.
addEventListener("storage", (e) => {
  if (e.key === "language" && e.newValue in dictionaries) speak(e.newValue).catch(() => {}); // it keeps its own
});

/** Whether there are words for a key. */
export const known = (key) => key in words.value;

function fill(text, vars) {
  return text.replace(/\{(\w+)(?::([^{}|]*)\|([^{}]*))?\}/g, (whole, name, one, many) => {
    const value = vars[name];
    if (one !== undefined) return Number(value) === 1 ? one : many;
    if (typeof value === "number") return new Intl.NumberFormat(locale()).format(value);
    return value === undefined ? whole : String(value);
  });
}

/**
 * The words for a key. {name} stands for a value (numbers are grouped),
 * {name:key|keys} for the first form where the value is 1 and else the second.
 */
export function t(key, vars = {}) {
  const text = words.value[key];
  return text === undefined ? key : fill(text, vars);
}

/**
 * The words for a key as something to draw: **bold**, `code`, and [text](name)
 * which vars.name, a function of the text, turns into a link. A value may be
 * something drawn as well. What is written in the values stays plain text.
 */
export function rich(key, vars = {}) {
  const text = words.value[key];
  if (text === undefined) return key;
  const pieces = [];
  const pattern = /\*\*(.+?)\*\*|`(.+?)`|\[(.+?)\]\((\w+)\)|\{(\w+)\}/g;
  let from = 0;
  for (let m; (m = pattern.exec(text)) !== null; from = pattern.lastIndex) {
    pieces.push(fill(text.slice(from, m.index), vars));
    if (m[1] !== undefined) pieces.push(html`<b>${inner(m[1], vars)}</b>`);
    else if (m[2] !== undefined) pieces.push(html`<code>${inner(m[2], vars)}</code>`);
    else if (m[3] !== undefined) pieces.push(vars[m[4]](inner(m[3], vars)));
    else pieces.push(drawn(vars[m[5]]) ? vars[m[5]] : fill(m[0], vars));
  }
  pieces.push(fill(text.slice(from), vars));
  return pieces;
}

const drawn = (value) => value !== null && typeof value === "object";

function inner(text, vars) {
  const only = /^\{(\w+)\}$/.exec(text);
  return only && drawn(vars[only[1]]) ? vars[only[1]] : fill(text, vars);
}
