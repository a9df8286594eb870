// What stands around every page of the dashboard: navigation, the bar on top of
// a phone, the switches of theme and language, and the word that the server is away.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { logOut } from "../lib/api.js";
import { number } from "../lib/format.js";
import { figures, link } from "../lib/live.js";
import { nextTheme, theme } from "../lib/theme.js";
import { meta } from "../lib/version.js";
import { choose, language, t } from "../lib/words.js";
import { Icon, Mark } from "./icon.js";
import { Patterns } from "./state.js";
import { Toasts, toastError } from "./toast.js";

export const brand = "Ollama API Pool";

/** The pages of the dashboard, in the order of the navigation. */
export const pages = [
  { id: "overview", path: "/dashboard" },
  { id: "keys", path: "/dashboard/keys", group: "pool" },
  { id: "import", path: "/dashboard/import", group: "pool" },
  { id: "tokens", path: "/dashboard/tokens", group: "access" },
  { id: "playground", path: "/dashboard/playground", group: "access" },
  { id: "requests", path: "/dashboard/requests", group: "traffic" },
  { id: "analytics", path: "/dashboard/analytics", group: "traffic" },
  { id: "settings", path: "/dashboard/settings", group: "system" },
  { id: "docs", path: "/api-docs", group: "system", other: true },
  { id: "stats", path: "/stats", group: "system", other: true },
];

const groups = ["pool", "access", "traffic", "system"];

/** The button that goes through the themes. */
export function ThemeButton() {
  const label = t("theme.is", { theme: t(`theme.${theme.value}`) }); // words: theme.*
  const icon = { system: "system", light: "sun", dark: "moon" }[theme.value];
  return html`<button type="button" class="btn ghost square" aria-label=${label} title=${label} onClick=${nextTheme}><${Icon} name=${icon} /></button>`;
}

/** The button that speaks the other language. */
export function LanguageButton() {
  const [code, name, hint, lang] = language.value === "zh" ? ["en", "EN", "Switch to English", "en"] : ["zh", "中文", "切换到中文", "zh-CN"];
  return html`<button type="button" class="btn ghost" title=${hint} lang=${lang} onClick=${() => choose(code).catch(() => toastError(new Error(t("error.away"))))}>${name}</button>`;
}

const wide = matchMedia("(min-width: 45rem)");

// The navigation of a phone that is turned has a place of its own again.
wide.addEventListener("change", () => {
  const nav = document.getElementById("nav");
  if (nav?.matches(":popover-open")) nav.hidePopover();
});

function Entry({ page, current }) {
  const label = t(`nav.${page.id}`); // words: nav.*
  const count = { keys: figures.value?.states.total }[page.id];
  const shut = () => {
    const nav = document.getElementById("nav");
    if (nav.matches(":popover-open")) nav.hidePopover();
  };
  return html`<li><a href=${page.path} title=${label} aria-current=${current ? "page" : undefined} onClick=${shut}><${Icon} name=${page.id} /><span class="label">${label}</span>${count !== undefined && html`<span class="count">${number(count)}</span>`}</a></li>`;
}

/** The dashboard around a page. current is the page's id. */
export function Shell({ current, children }) {
  const leave = () => logOut().catch(toastError);
  const list = (group) => pages.filter((p) => p.group === group);
  return html`<a class="skip" href="#content">${t("skip")}</a>
    <${Spoken} name=${current === "" ? t("page.lost") : t(`nav.${current}`)} />
    <div class="app">
      <header class="topbar">
        <button type="button" class="btn ghost square" popovertarget="nav" aria-label=${t("nav.open")} title=${t("nav.open")}><${Icon} name="menu" large /></button>
        <a class="brand" href="/dashboard"><${Mark} /><span>${brand}</span></a>
        <div class="actions"><${ThemeButton} /><${LanguageButton} /></div>
      </header>
      <nav class="side" id="nav" popover aria-label=${t("nav.label")}>
        <a class="brand" href="/dashboard" title=${brand}><${Mark} /><span class="brand-name">${brand}</span></a>
        <ul>${list(undefined).map((p) => html`<${Entry} key=${p.id} page=${p} current=${p.id === current} />`)}</ul>
        ${groups.map((g) => html`<h2 id=${`nav-${g}`}>${t(`nav.group.${g}`)}</h2><ul aria-labelledby=${`nav-${g}`}>${list(g).map((p) => html`<${Entry} key=${p.id} page=${p} current=${p.id === current} />`)}</ul>`)}
        <div class="side-foot">
          <${ThemeButton} /><${LanguageButton} />
          <button type="button" class="btn ghost square" aria-label=${t("logout")} title=${t("logout")} onClick=${leave}><${Icon} name="logout" /></button>
          <p class="build">${meta("version")}</p>
        </div>
      </nav>
      <main class="main" id="content" tabindex="-1">
        <${Patterns} />
        <${Away} />
        ${children}
      </main>
    </div>
    <${Toasts} />`;
}

/** Says the name of the page that one went to; that of the first one the browser says. */
function Spoken({ name }) {
  const first = useRef(name);
  if (first.current !== name) first.current = null;
  return html`<p class="sr-only" aria-live="polite">${first.current === null && name}</p>`;
}

/** The word that the server does not answer, once that lasts. */
function Away() {
  const [late, setLate] = useState(false);
  const away = link.value === "away";
  useEffect(() => {
    if (!away) return setLate(false);
    const timer = setTimeout(() => setLate(true), 1500);
    return () => clearTimeout(timer);
  }, [away]);
  return late && html`<div class="note-box s-failed" role="alert"><${Icon} name="offline" /><div>${t("away")}</div></div>`;
}

/** The head of a page: its title, what is said beside it, and what can be done. */
export const PageHead = ({ title, sub, children }) => html`<div class="page-head"><h1>${title}</h1>${sub}${children && html`<div class="actions">${children}</div>`}</div>`;

/** How the page is kept up to date: live, in turn, or not at all. */
export function LiveMark() {
  const state = link.value;
  return html`<span class=${`live is-${state}`} title=${t(`live.${state}.more`)}>${t(`live.${state}`)}</span>`; // words: live.*
}

/** The frame of the pages outside the dashboard: /stats and /api-docs. */
export const Plain = ({ children, actions, end, wide = false }) => html`<a class="skip" href="#content">${t("skip")}</a>
  <div class=${`plain${wide ? " wide" : ""}`}>
    <header class="plain-head"><a class="brand" href="/stats"><${Mark} /><span>${brand}</span></a><div class="actions">${actions}<${ThemeButton} /><${LanguageButton} />${end}</div></header>
    <main id="content" class="stack" tabindex="-1"><${Patterns} />${children}</main>
  </div>
  <${Toasts} />`;
