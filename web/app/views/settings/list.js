// The running configuration: every setting with its value, where that came from,
// and what it is for.
import { html, useEffect, useState } from "../../lib/preact.js";
import { query, setQuery } from "../../lib/router.js";
import { useLater } from "../../lib/load.js";
import { known, language, rich, t } from "../../lib/words.js";
import { Copy } from "../../parts/copy.js";
import { Search } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { Blank, LoadError } from "../../parts/table.js";

const pause = 250; // ms after the last letter of a search
const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
const groupName = (g) => (known(`settings.group.${slug(g)}`) ? t(`settings.group.${slug(g)}`) : g); // words: settings.group.*
/** What having no value means. */
const unsetName = (s) => (known(`settings.unset.${slug(s.unset)}`) ? t(`settings.unset.${slug(s.unset)}`) : s.unset); // words: settings.unset.*

/** Text with `names` between backquotes. */
const ticked = (text) => text.split(/`([^`]+)`/).map((part, i) => (i % 2 === 1 ? html`<code>${part}</code>` : part));

/** The helps in the reader's language, where that is not the API's. */
function useHelps() {
  const [helps, setHelps] = useState({});
  const spoken = language.value;
  useEffect(() => {
    if (spoken === "zh") import("./help.zh.js").then((m) => setHelps(m.default), () => {}); // the API's are shown then
    else setHelps({});
  }, [spoken]);
  return helps;
}

/** A secret is shown as *** and reads as what it is: set. */
const hidden = (s) => s.value === "***";

function Value({ s }) {
  if (hidden(s)) return html`<span class="is-set"><${Icon} name="lock" />${t("settings.set")}</span>`;
  if (s.value === null) return html`<span class="unset">${unsetName(s)}</span>`;
  return html`<code>${s.value}</code>`;
}

function Setting({ s, help }) {
  const changed = s.source !== "default";
  const was = s.default === null ? unsetName(s) : html`<code>${s.default}</code>`;
  return html`<li class=${changed ? "is-changed" : ""}>
    <span class="name"><code>${s.name}</code><${Copy} text=${s.name} label=${t("settings.copy", { name: s.name })} class="small ghost" /></span>
    <span class="value"><${Value} s=${s} />${changed && html`<small>${rich("settings.default", { value: was })}</small>`}</span>
    <span class="from"><span class="tag">${t(`settings.source.${s.source}`)}</span></span>
    <span class="help" lang=${help ? undefined : "en"}>${ticked(help ?? s.help)}</span>
  </li>`; // words: settings.source.*
}

const Bones = () => html`<ul class="settings" aria-busy="true">${Array.from({ length: 8 }, (_, i) => html`<li key=${i}><span class="name"><span class=${`bone w${2 + (i % 3)}`}></span></span><span class="value"><span class="bone w2"></span></span><span class="from"></span><span class="help"><span class=${`bone w${4 - (i % 3)}`}></span></span></li>`)}</ul>`;

/** What is searched for, in the address; the field follows at once. */
function useSearch() {
  const asked = query.value.q ?? "";
  const [typed, setTyped] = useState(asked);
  const later = useLater(pause);
  useEffect(() => setTyped(asked), [asked]);
  const search = (text) => {
    setTyped(text);
    later(() => setQuery({ q: text.trim() }, { replace: true }));
  };
  return [typed, search];
}

/** The panel of the settings. */
export function Settings({ data, error, retry }) {
  const helps = useHelps();
  const [q, search] = useSearch();
  const only = query.value.changed !== undefined;
  const all = data?.settings ?? [];
  const changed = all.filter((s) => s.source !== "default");
  const words = q.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (s) => words.every((w) => `${s.name} ${s.help} ${helps[s.name] ?? ""}`.toLowerCase().includes(w));
  const shown = (only ? changed : all).filter(fits);
  const groups = [...new Set(shown.map((s) => s.group))];
  return html`<section class="panel" aria-label=${t("settings.list")}>
    <div class="panel-head"><h2>${t("settings.list")}</h2><span class="sub">${data && t("settings.count", { n: shown.length, of: all.length })}</span></div>
    <div class="toolbar"><div class="grow"><${Search} label=${t("settings.search")} placeholder=${t("settings.search")} value=${q} onInput=${search} /></div>
      <label class="check in-row"><input type="checkbox" class="switch" role="switch" checked=${only} onChange=${(e) => setQuery({ changed: e.target.checked ? "true" : null })} /><span>${t("settings.changed", { n: changed.length })}</span></label>
      <span class="hint end">${data && (data.file ? t("settings.file", { file: data.file }) : t("settings.file.none"))}</span></div>
    ${error && !data ? html`<${LoadError} error=${error} retry=${retry} title=${t("settings.error")} />` : !data ? html`<${Bones} />` : groups.map((g) => html`<div key=${g}><h3 class="group" id=${`settings-${slug(g)}`}>${groupName(g)}</h3>
      <ul class="settings" aria-labelledby=${`settings-${slug(g)}`}>${shown.filter((s) => s.group === g).map((s) => html`<${Setting} key=${s.name} s=${s} help=${helps[s.name]} />`)}</ul></div>`)}
    ${data && shown.length === 0 && (words.length > 0
      ? html`<${Blank} icon="search" title=${t("settings.none", { q })} acts=${html`<button type="button" class="btn" onClick=${() => search("")}>${t("settings.none.clear")}</button>`}>${only ? t("settings.none.only") : t("settings.none.more")}<//>`
      : html`<${Blank} icon="settings" title=${t("settings.unchanged")}>${t("settings.unchanged.more")}<//>`)}
  </section>`;
}
