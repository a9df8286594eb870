// The public statistics: what everybody may know of the pool. Nothing here asks
// for a session.
import { html, render, useEffect, useLayoutEffect, useRef } from "./lib/preact.js";
import { get } from "./lib/api.js";
import { number, share, zone } from "./lib/format.js";
import { useLoad } from "./lib/load.js";
import { wait } from "./lib/ready.js";
import { query, setQuery } from "./lib/router.js";
import { renewed } from "./lib/version.js";
import { firstLanguage, language, rich, speak, t } from "./lib/words.js";
import { Bars, BarsLegend, Count, Figure } from "./parts/chart.js";
import { Providers } from "./parts/form.js";
import { Icon } from "./parts/icon.js";
import { Plain, brand } from "./parts/shell.js";
import { Meter } from "./parts/state.js";
import { Blank, LoadError } from "./parts/table.js";
import { Ago } from "./parts/time.js";

const every = 30000; // ms between looks
const hourMs = 3600e3;

/** How the pool stands: its state, the word for that, and the sentence beside it. */
function verdict({ totalApiKeys: total, activeKeys: active }) {
  if (total === 0) return ["disabled", t("stats.empty"), t("stats.empty.more")];
  const told = rich("stats.keys", { active: html`<b>${number(active)}</b>`, total });
  if (active === 0) return ["failed", t("stats.down"), told];
  return 2 * active >= total ? ["active", t("stats.serving"), told] : ["resting", t("stats.strained"), told];
}

function Verdict({ of }) {
  const [state, word, more] = verdict(of);
  const wide = of.totalApiKeys === 0 ? 0 : (100 * of.activeKeys) / of.totalApiKeys;
  return html`<section class=${`panel verdict s-${state}`} aria-labelledby="verdict">
    <div class="verdict-line"><h2 id="verdict"><${Icon} name=${state} />${word}</h2><p>${more}</p></div>
    <svg class="health" role="img" aria-label=${t("stats.keys.label", { active: of.activeKeys, total: of.totalApiKeys })}>
      <rect class="f-disabled" width="100%" height="100%" />
      <rect class="f-active" width=${`${wide}%`} height="100%" />
      ${wide > 0 && wide < 100 && html`<rect class="gap" x=${`${wide}%`} width="2" height="100%" />`}
    </svg>
    <div class="spacer"></div>
  </section>`;
}

/** The hours of the trend, with their times: the last one is the one that has begun. */
function trend(data) {
  const last = Math.floor(Date.parse(data.timestamp) / hourMs) * hourMs;
  const n = data.hourlyTrend.length;
  return data.hourlyTrend.map((h, i) => ({ at: new Date(last - (n - 1 - i) * hourMs).toISOString(), success: h.success, failure: h.failure, requests: h.requests }));
}

function Models({ title, sub, of }) {
  const most = Math.max(1, ...of.map((m) => m.requests));
  return html`<section class="panel"><div class="panel-head"><h2>${title}</h2><span class="sub">${sub}</span></div>
    ${of.length === 0 ? html`<${Blank} title=${t("stats.models.none")} />` : html`<div class="table-wrap"><table>
      <thead><tr><th scope="col">${t("stats.model")}</th><th scope="col" class="share"><span class="sr-only">${t("stats.share")}</span></th><th scope="col" class="num">${t("stats.requests")}</th><th scope="col" class="num">${t("stats.success")}</th></tr></thead>
      <tbody>${of.map((m) => html`<tr key=${m.model}><td class="mono name">${m.model}</td><td class="share"><${Meter} share=${(100 * m.requests) / most} /></td><td class="num">${number(m.requests)}</td><td class="num">${m.success + m.failure > 0 ? share(m.success, m.success + m.failure) : "–"}</td></tr>`)}</tbody>
    </table></div>`}
  </section>`;
}

function Figures({ of, hours }) {
  const sum = (what) => hours.reduce((n, h) => n + h[what], 0);
  const counted = of.successCount + of.failureCount;
  return html`<dl class="figures">
    <div><dt>${t("stats.requests.all")}</dt><dd><${Count} n=${of.totalRequests} /></dd></div>
    <div><dt>${t("stats.rate")}</dt><dd>${counted === 0 ? "–" : html`<${Figure} of=${{ value: share(of.successCount, counted, 2).replace("%", ""), unit: "%" }} />`}</dd></div>
    <div><dt>${t("stats.requests.day")}</dt><dd><${Count} n=${sum("requests")} /></dd></div>
    <div><dt>${t("stats.failures.day")}</dt><dd><${Count} n=${sum("failure")} /></dd></div>
  </dl>`;
}

function Loading() {
  return html`<section class="panel verdict" aria-busy="true"><div class="verdict-line"><span class="bone w2"></span></div><span class="bone w4"></span><div class="spacer"></div></section>
    <dl class="figures" aria-hidden="true">${[0, 1, 2, 3].map((i) => html`<div key=${i}><dt><span class="bone w3"></span></dt><dd><span class="bone w2"></span></dd></div>`)}</dl>`;
}

function Shown({ data }) {
  const hours = trend(data);
  return html`<${Verdict} of=${data.global} />
    <${Figures} of=${data.global} hours=${hours} />
    <section class="panel"><div class="panel-head"><h2>${t("stats.trend")}</h2><div class="actions legend"><${BarsLegend} /></div></div>
      <div class="panel-body"><${Bars} points=${hours} step="hour" tall label=${t("stats.trend.label")} /></div></section>
    <div class="cols halves top">
      <${Models} title=${t("stats.models")} sub=${t("stats.models.all")} of=${data.topModels} />
      <${Models} title=${t("stats.models")} sub=${t("stats.models.day")} of=${data.recentTopModels} />
    </div>`;
}

function Stats() {
  const provider = ["ollama", "openrouter"].includes(query.value.provider) ? query.value.provider : "all";
  const { data: last, error, stale, reload } = useLoad((signal) => get("/admin/public-stats", { provider, tz: zone() }, { signal }), [provider], { every });
  useLayoutEffect(() => {
    document.title = `${t("stats.title")} · ${brand}`;
  }, [language.value]);
  const data = error && stale ? undefined : last; // figures of another provider than the one that is chosen
  // A page that stays open for months, on a wall, is renewed with the program.
  const failed = useRef(false);
  useEffect(() => {
    if (!error && failed.current) renewed().then((is) => is && location.reload());
    failed.current = error !== null;
  }, [error]);
  const fresh = html`<span class=${`live hide-phone${error ? " is-away" : ""}`}>${data ? html`<${Ago} at=${data.timestamp} />` : t("stats.loading")}</span>`;
  return html`<${Plain} actions=${fresh} end=${html`<a class="btn ghost" href="/dashboard">${t("login.title")}</a>`}>
    <div class="page-head"><h1>${t("stats.title")}</h1><div class="actions"><${Providers} all value=${provider} onChange=${(p) => setQuery({ provider: p === "all" ? null : p })} /></div></div>
    ${error && data && html`<div class="note-box s-resting" role="status"><${Icon} name="offline" /><div>${t("stats.old", { message: error.message })}</div></div>`}
    ${data ? html`<${Shown} data=${data} />` : error ? html`<section class="panel"><${LoadError} error=${error} retry=${reload} title=${t("stats.error")} /></section>` : html`<${Loading} />`}
  <//>`;
}

const done = wait();
await speak(firstLanguage());
render(html`<${Stats} />`, document.getElementById("app"));
done();
