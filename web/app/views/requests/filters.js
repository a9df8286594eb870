// What is shown of the requests: tabs by outcome, and a toolbar for models,
// tokens, and the key or the request that one looks for.
import { html, useMemo, useState } from "../../lib/preact.js";
import { get } from "../../lib/api.js";
import { number } from "../../lib/format.js";
import { useLoad } from "../../lib/load.js";
import { setQuery, withQuery } from "../../lib/router.js";
import { idOf, isId, looksSecret, makesIds } from "../../lib/secret.js";
import { t } from "../../lib/words.js";
import { Icon } from "../../parts/icon.js";
import { Slide } from "../../parts/table.js";

const tabs = [
  { status: "failed", icon: "failed", state: "failed" },
  { status: "retried", icon: "refresh", state: "resting" },
  { status: "slow", icon: "clock", state: "disabled" },
];

const thresholds = [1000, 2000, 5000, 10000, 30000, 60000];
const usualSlow = 10000; // ms, as the API has it

/** Above so many, counting stops; a plus says so. */
const counted = (n, most) => (n >= most ? `${number(most)}+` : number(n));

/** The tabs, with how many there are of each. */
export function Tabs({ filters, counts }) {
  const to = (status) => withQuery({ status, before: null, open: null, slow: status === "slow" ? filters.slow : null });
  return html`<nav aria-label=${t("requests.outcome")}><${Slide} class="tabs">
    <a href=${to(null)} aria-current=${filters.status ? undefined : "page"}>${t("requests.all")}</a>
    ${tabs.map((o) => html`<a key=${o.status} href=${to(o.status)} class=${`s-${o.state}`} aria-current=${filters.status === o.status ? "page" : undefined}>
      <${Icon} name=${o.icon} />${t(`requests.tab.${o.status}`)}${counts && html` <span class="n">${counted(counts[o.status], counts.most)}</span>`}</a>`)}
  <//></nav>`; // words: requests.tab.*
}

const changed = (what) => setQuery({ ...what, before: null, open: null });

/** A list to choose from. It keeps a choice that is not (or not yet) in it. */
function Choice({ label, none, options, value, onChange }) {
  const all = value && !options.some(([v]) => v === value) ? [[value, value], ...options] : options;
  return html`<select class="select" aria-label=${label} onChange=${(e) => onChange(e.target.value)}>
    <option value="" selected=${!value}>${none}</option>
    ${all.map(([v, text]) => html`<option key=${v} value=${v} selected=${v === value}>${text}</option>`)}
  </select>`;
}

const names = (list) => [...new Set(list)].sort((a, b) => a.localeCompare(b));

/** The models that were asked for of late, and those among the rows. */
function useModels(provider, rows) {
  const { data } = useLoad((signal) => get("/admin/analytics/models", { provider, range: "30d", pageSize: 200 }, { signal }), [provider]);
  return useMemo(() => names([...(data?.models ?? []).map((m) => m.model), ...(rows ?? []).map((r) => r.model)].filter(Boolean)).map((m) => [m, m]), [data, rows]);
}

/** The tokens that there are, and those among the rows. */
function useTokens(rows) {
  const { data } = useLoad((signal) => get("/admin/tokens", { provider: "all", page: 1, pageSize: 200 }, { signal }), []);
  return useMemo(() => {
    const all = new Map();
    for (const token of [...(data?.tokens ?? []), ...(rows ?? []).map((r) => r.token)]) {
      if (token.id && !all.has(token.id)) all.set(token.id, token.name || token.id);
    }
    return [...all].sort((a, b) => a[1].localeCompare(b[1]));
  }, [data, rows]);
}

/** Whether a key of that id is in the pool. */
async function isKey(id) {
  for (const provider of ["ollama", "openrouter"]) {
    if ((await get("/admin/api-keys", { provider, search: id, pageSize: 1 })).total > 0) return true;
  }
  return false;
}

/** Finds what an id belongs to, and gives the change of the address that shows it; null for nothing. */
async function find(text) {
  if (looksSecret(text) && !makesIds) throw new Error(t("requests.find.plain"));
  const id = isId(text) ? text.toLowerCase() : text.length >= 16 && makesIds ? await idOf(text) : "";
  if (id !== "") {
    for (const name of ["key", "token"]) {
      const { requests } = await get("/admin/requests", { [name]: id, limit: 1 });
      if (requests.length > 0) return { [name]: id, before: null, open: null };
    }
    if (await isKey(id)) return { key: id, before: null, open: null };
  }
  if (!/^[\w.:-]{1,128}$/.test(text) || looksSecret(text)) return null; // no request's id
  try {
    await get(`/admin/requests/${encodeURIComponent(text)}`);
    return { open: text };
  } catch (e) {
    if (e.status === 404) return null;
    throw e;
  }
}

/** The field for the id of a request, a key or a token; the secrets themselves are understood, too. */
function Finder() {
  const [text, setText] = useState("");
  const [note, setNote] = useState("");
  const [busy, setBusy] = useState(false);
  const look = async (e) => {
    e.preventDefault();
    const wanted = text.trim();
    if (wanted === "" || busy) return;
    setBusy(true);
    setNote("");
    try {
      const change = await find(wanted);
      if (change) {
        setText("");
        setQuery(change);
      } else {
        setNote(t("requests.find.none"));
      }
    } catch (error) {
      setNote(error.message);
    }
    setBusy(false);
  };
  return html`<form class="grow finder" role="search" onSubmit=${look}>
    <div class="with-icon"><${Icon} name="search" />
      <input class="input" type="search" data-search aria-label=${t("requests.find")} placeholder=${t("requests.find")} value=${text} autocomplete="off" spellcheck=${false} aria-invalid=${note ? "true" : undefined}
        onInput=${(e) => { setText(e.target.value); setNote(""); }} />
      ${text === "" && html`<kbd class="hide-phone" aria-hidden="true">/</kbd>`}
    </div>
    <span class="error" role="status">${note}</span>
  </form>`;
}

/** A filter that can only be taken away. */
const Chip = ({ label, shown, onRemove }) => html`<button type="button" class="chip" aria-pressed="true" aria-label=${label} title=${label} onClick=${onRemove}>${shown}<${Icon} name="close" /></button>`;

/** How long a request takes that counts as slow. */
function Slowness({ value }) {
  const ms = value ? Number(value) : usualSlow;
  const all = [...new Set([...thresholds, ms])].sort((a, b) => a - b);
  return html`<select class="select" aria-label=${t("requests.slow.label")} onChange=${(e) => changed({ slow: Number(e.target.value) === usualSlow ? null : e.target.value })}>
    ${all.map((n) => html`<option key=${n} value=${n} selected=${n === ms}>${t("requests.slow", { s: number(n / 1000, 1) })}</option>`)}
  </select>`;
}

/** The toolbar. masked is how the key of the filter is shown, where that is known. */
export function Toolbar({ filters, rows, masked, children }) {
  const provider = filters.provider ?? "all";
  const models = useModels(provider, rows);
  const tokens = useTokens(rows);
  const code = /^\d+$/.test(filters.status ?? "") ? filters.status : "";
  return html`<div class="toolbar">
    <${Finder} />
    <${Choice} label=${t("requests.model")} none=${t("requests.models.all")} options=${models} value=${filters.model} onChange=${(model) => changed({ model })} />
    <${Choice} label=${t("requests.token")} none=${t("requests.tokens.all")} options=${tokens} value=${filters.token} onChange=${(token) => changed({ token })} />
    ${filters.status === "slow" && html`<${Slowness} value=${filters.slow} />`}
    ${filters.key && html`<${Chip} label=${t("requests.key.remove")} shown=${html`${t("requests.key")} <code>${masked ?? filters.key}</code>`} onRemove=${() => changed({ key: null })} />`}
    ${code && html`<${Chip} label=${t("requests.status.remove")} shown=${html`${t("requests.status")} <code>${code}</code>`} onRemove=${() => changed({ status: null })} />`}
    ${children}
  </div>`;
}

/** Whether anything is left out. */
export const filtered = (filters) => Object.entries(filters).some(([name, v]) => v && name !== "provider" && name !== "slow");

/** Takes all filters away, but not the choice of a provider. */
export const unfilter = () => setQuery({ status: null, model: null, token: null, key: null, slow: null, before: null, open: null });
