// The dashboard: finds out whether there is a session, and draws the page that
// the address names.
import { effect, html, render, signal, useEffect, useErrorBoundary, useLayoutEffect, useState } from "./lib/preact.js";
import { findSession, session } from "./lib/api.js";
import * as live from "./lib/live.js";
import { wait } from "./lib/ready.js";
import { followLinks, place } from "./lib/router.js";
import { renewed } from "./lib/version.js";
import { firstLanguage, language, speak, t } from "./lib/words.js";
import { Blank, LoadError } from "./parts/table.js";
import { Shell, brand, pages } from "./parts/shell.js";
import { Icon } from "./parts/icon.js";
import { toast } from "./parts/toast.js";
import Login from "./views/login.js";
import Overview from "./views/overview.js";

const views = {
  overview: () => Overview,
  keys: () => import("./views/keys.js"),
  import: () => import("./views/import.js"),
  tokens: () => import("./views/tokens.js"),
  playground: () => import("./views/playground.js"),
  requests: () => import("./views/requests.js"),
  analytics: () => import("./views/analytics.js"),
  settings: () => import("./views/settings.js"),
};

const mine = pages.filter((p) => !p.other);

/** The page that an address names, "" for one that is not there. */
function pageAt(path) {
  const plain = path.replace(/\/+$/, "");
  return mine.find((p) => p.path === plain || (p.id === "overview" && plain === ""))?.id ?? "";
}

const failed = signal(null); // why the session could not be asked for

async function begin() {
  failed.value = null;
  try {
    await findSession();
  } catch (e) {
    failed.value = e;
  }
}

/** Loads a page's module once, and draws it. */
function Page({ id }) {
  const [view, setView] = useState(() => (id === "overview" ? { id, show: Overview } : null));
  const [tries, setTries] = useState(0);
  useEffect(() => {
    let left = false; // somebody went on to another page before this one came
    const done = wait();
    const show = (v) => left || setView({ id, ...v });
    Promise.resolve().then(views[id]).then((m) => show({ show: m.default ?? m }), async (error) => {
      // Browsers remember a module that they did not get; the page loaded anew
      // has it, and is where it was. A server that is away is asked again.
      if (tries > 0 && await answers()) location.reload();
      else show({ error });
    }).finally(done);
    return () => {
      left = true;
      done();
    };
  }, [id, tries]);
  useLayoutEffect(() => {
    document.title = `${t(`nav.${id}`)} · ${brand}`; // words: nav.*
  }, [id, language.value]);
  const title = html`<div class="page-head"><h1>${t(`nav.${id}`)}</h1></div>`;
  if (view?.id !== id) return html`${title}<div class="panel panel-body is-late" aria-busy="true">${[4, 2, 3].map((n) => html`<div class="spacer"></div><span class=${`bone w${n}`}></span>`)}<div class="spacer"></div></div>`;
  if (view.error) return html`${title}<section class="panel"><${LoadError} error=${{ message: t("page.part") }} retry=${() => setTries(tries + 1)} title=${t("page.error")} /></section>`;
  return html`<${Guarded} key=${id}><${view.show} /><//>`;
}

async function answers() {
  try {
    return (await fetch("/health", { cache: "no-store", credentials: "omit" })).ok;
  } catch {
    return false;
  }
}

/** Keeps a fault of one page from taking the rest away. */
function Guarded({ children }) {
  const [error, reset] = useErrorBoundary((e) => console.error(e));
  if (!error) return children;
  return html`<${Blank} failed icon="failed" title=${t("page.broken")} acts=${html`<button type="button" class="btn" onClick=${reset}><${Icon} name="refresh" />${t("retry")}</button>`}>${String(error.message ?? error)}<//>`;
}

function Lost() {
  useLayoutEffect(() => {
    document.title = `${t("page.lost")} · ${brand}`;
  });
  return html`<${Blank} icon="search" title=${t("page.lost")} acts=${html`<a class="btn" href="/dashboard">${t("page.lost.act")}</a>`}>${t("page.lost.more")}<//>`;
}

function App() {
  if (failed.value) return html`<main class="plain"><div class="page-head"><h1>${brand}</h1></div><${LoadError} error=${failed.value} retry=${begin} title=${t("page.error")} /></main>`;
  if (session.value === undefined) return null;
  if (session.value === null) return html`<${LoginPage} />`;
  const id = pageAt(place.value.path);
  return html`<${Shell} current=${id}>${id === "" ? html`<${Lost} />` : html`<${Page} id=${id} />`}<//>`;
}

function LoginPage() {
  useLayoutEffect(() => {
    document.title = `${t("login.title")} · ${brand}`;
  }, [language.value]);
  return html`<${Login} />`;
}

// The keyboard begins at the page that one goes to; the shell says its name.
let shownPath = place.value.path;
function follow() {
  if (place.value.path === shownPath) return;
  shownPath = place.value.path;
  document.getElementById("content")?.focus({ preventScroll: true });
}

// A program that was renewed behind an open page has other pages: whoever comes
// back to it is told.
let offered = false;
let looked = 0;
async function lookForOther() {
  if (offered || Date.now() - looked < 2000) return;
  looked = Date.now();
  if (!(await renewed()) || offered) return;
  offered = true;
  toast({ state: "info", text: t("version.other"), more: t("version.other.more"), act: { label: t("version.reload"), run: () => location.reload() }, stays: true });
}
effect(() => {
  if (live.joins.value > 1 || live.returns.value > 0) lookForOther();
});

const done = wait();
await Promise.all([speak(firstLanguage()), begin()]);
render(html`<${App} />`, document.getElementById("app"));
followLinks((path) => path === "/" || path === "/dashboard" || path.startsWith("/dashboard/"));
place.subscribe(() => queueMicrotask(follow));
live.begin();
done();
