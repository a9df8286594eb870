// The documentation of the API, drawn from /openapi.json.
import { html, render, useEffect, useLayoutEffect, useMemo, useState } from "./lib/preact.js";
import { get } from "./lib/api.js";
import { useLoad, useLater } from "./lib/load.js";
import { wait } from "./lib/ready.js";
import { query, setQuery } from "./lib/router.js";
import { firstLanguage, language, rich, speak, t } from "./lib/words.js";
import { groupsOf, matches } from "./docs/document.js";
import { Address, Operation } from "./docs/operation.js";
import { Prose } from "./docs/prose.js";
import { Search } from "./parts/form.js";
import { Plain, brand } from "./parts/shell.js";
import { Blank, LoadError } from "./parts/table.js";

/** The place in the address, "" where its escapes make no sense. */
function place() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "-");

/** An operation that opens; its place in the address is its operationId. */
function Entry({ doc, o, open, onOpen }) {
  return html`<details class="entry" id=${o.operationId} open=${open} onToggle=${(e) => onOpen(o.operationId, e.currentTarget.open)}>
    <summary><${Address} o=${o} /><span class="summary" lang="en">${o.summary}</span>${o.deprecated && html`<span class="tag">${t("docs.deprecated")}</span>`}</summary>
    ${open && html`<${Operation} doc=${doc} o=${o} />`}
  </details>`;
}

function Document({ doc }) {
  const groups = useMemo(() => groupsOf(doc), [doc]);
  const [opened, setOpened] = useState(() => new Set([place()]));
  const search = query.value.search ?? "";
  const [typed, setTyped] = useState(search);
  const later = useLater(250);
  const type = (text) => {
    setTyped(text);
    later(() => setQuery({ search: text.trim() }, { replace: true }));
  };
  useEffect(() => setTyped(search), [search]);
  useEffect(() => {
    const follow = () => {
      const id = place();
      if (id === "") return;
      setOpened((was) => new Set(was).add(id));
      requestAnimationFrame(() => document.getElementById(id)?.scrollIntoView());
    };
    follow();
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const open = (id, on) => {
    if (opened.has(id) === on) return;
    const now = new Set(opened);
    if (on) now.add(id);
    else now.delete(id);
    setOpened(now);
    history.replaceState(history.state, "", location.pathname + location.search + (on ? `#${id}` : ""));
  };
  const found = groups.map((g) => ({ ...g, operations: g.operations.filter((o) => search === "" || matches(o, search)) })).filter((g) => g.operations.length > 0);
  return html`<div class="docs">
    <nav class="docs-nav" aria-label=${t("docs.groups")}><ul>${found.map((g) => html`<li key=${g.name}><a href=${`#${slug(g.name)}`}><span lang="en">${g.name}</span><span class="n">${g.operations.length}</span></a></li>`)}</ul></nav>
    <div class="stack">
      <div class="toolbar flush"><div class="grow"><${Search} label=${t("docs.search")} placeholder=${t("docs.search")} value=${typed} onInput=${type} /></div></div>
      ${found.length === 0 && html`<section class="panel"><${Blank} icon="search" title=${t("docs.none", { search })} acts=${html`<button type="button" class="btn" onClick=${() => type("")}>${t("docs.clear")}</button>`} /></section>`}
      ${found.map((g) => html`<section key=${g.name} class="panel" id=${slug(g.name)} aria-labelledby=${`${slug(g.name)}-head`}>
        <div class="panel-head"><h2 id=${`${slug(g.name)}-head`} lang="en">${g.name}</h2></div>
        ${g.operations.map((o) => html`<${Entry} key=${o.operationId} doc=${doc} o=${o} open=${opened.has(o.operationId)} onOpen=${open} />`)}
      </section>`)}
    </div>
  </div>`;
}

function Docs() {
  const { data: doc, error, reload } = useLoad((signal) => get("/openapi.json", {}, { signal }), []);
  useLayoutEffect(() => {
    document.title = `${t("nav.docs")} · ${brand}`;
  }, [language.value]);
  const links = html`<a class="btn ghost hide-phone" href="/openapi.json" download="openapi.json">openapi.json</a>`;
  return html`<${Plain} wide actions=${links} end=${html`<a class="btn ghost" href="/dashboard">${t("docs.dashboard")}</a>`}>
    <div class="page-head"><h1>${t("nav.docs")}</h1>${doc && html`<span class="tag">${doc.info.version}</span>`}</div>
    ${error && !doc && html`<section class="panel"><${LoadError} error=${error} retry=${reload} title=${t("docs.error")} /></section>`}
    ${!doc && !error && html`<section class="panel panel-body" aria-busy="true">${[0, 1, 2, 3].map((i) => html`<div key=${i} class="spacer"></div><span class=${`bone w${4 - i}`}></span>`)}<div class="spacer"></div></section>`}
    ${doc && html`<section class="panel docs-intro"><p class="hint">${rich("docs.intro", { file: (text) => html`<a href="/openapi.json">${text}</a>` })}</p><${Prose} text=${doc.info.description} /></section><${Document} doc=${doc} />`}
  <//>`;
}

const done = wait();
await speak(firstLanguage());
render(html`<${Docs} />`, document.getElementById("app"));
done();
