// The overview: how the pool stands, what it did, what needs attention. Before
// the first request a guide of three steps stands in its place.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { get } from "../lib/api.js";
import { zone } from "../lib/format.js";
import { figures, link, newest } from "../lib/live.js";
import { useLoad } from "../lib/load.js";
import { query, setQuery } from "../lib/router.js";
import { t } from "../lib/words.js";
import { Providers, Seg } from "../parts/form.js";
import { Icon } from "../parts/icon.js";
import { LiveMark, PageHead } from "../parts/shell.js";
import { LoadError } from "../parts/table.js";
import { Attention } from "./overview/attention.js";
import { Figures, Traffic } from "./overview/figures.js";
import { FirstRun } from "./overview/firstrun.js";
import { Failures, Models, Rests } from "./overview/lists.js";
import { remember } from "./overview/shape.js";
import { Store } from "./overview/store.js";
import { Verdict, standing } from "./overview/verdict.js";

const ranges = ["1h", "24h", "7d", "30d"];
const anew = 15000; // ms after which everything is loaded again
const soonest = 5000; // ms between two loads because something happened
const inGuide = 3000; // ms between looks while the guide waits for its steps

const phone = matchMedia("(max-width: 44.99rem)");

/** Whether the page is as narrow as a phone. */
function usePhone() {
  const [is, setIs] = useState(phone.matches);
  useEffect(() => {
    const look = () => setIs(phone.matches);
    phone.addEventListener("change", look);
    return () => phone.removeEventListener("change", look);
  }, []);
  return is;
}

/** Loads again when the log has news, a key or the verdict has changed, or one comes back to an old page. */
function useNews(data, reload) {
  const loadedAt = useRef(0);
  const known = useRef(null); // what has been loaded for
  const live = figures.value;
  const states = live ? [live.verdict.reason, ...Object.values(live.states)].join(" ") : "";
  const news = newest.value;
  useEffect(() => {
    loadedAt.current = Date.now();
  }, [data]);
  useEffect(() => {
    const was = known.current;
    if (data === undefined || was === null || was.states === "") known.current = { states, news };
    if (data === undefined || was === null || (was.news === news && (was.states === states || was.states === ""))) return undefined;
    const timer = setTimeout(() => {
      known.current = { states, news };
      reload();
    }, Math.max(0, loadedAt.current + soonest - Date.now()));
    return () => clearTimeout(timer);
  }, [states, news, data === undefined]);
  useEffect(() => {
    const look = () => {
      if (!document.hidden && Date.now() - loadedAt.current > anew) reload();
    };
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
}

/** Whether there ever was a request: known from the range, else asked for. undefined while that is not known. */
function useEver(data) {
  const quiet = data !== undefined && data.figures.requests === 0 && data.log.entries === 0;
  const all = useLoad((signal) => get("/admin/stats", { provider: "all" }, { signal }), [quiet], { on: quiet });
  if (data === undefined) return undefined;
  if (!quiet) return true;
  if (all.error) return true; // the guide is not for those who have a pool
  return all.data === undefined ? undefined : all.data.total_requests > 0;
}

export default function Overview() {
  const asked = query.value;
  const provider = ["ollama", "openrouter"].includes(asked.provider) ? asked.provider : "all";
  const range = ranges.includes(asked.range) ? asked.range : "24h";
  const [guided, setGuided] = useState(false); // the guide is shown until it is left
  const { data, error, loading, reload } = useLoad(
    (signal) => get("/admin/overview", { provider, range, tz: zone() }, { signal }),
    [provider, range],
    { every: guided ? inGuide : anew },
  );
  useNews(data, reload);
  const ever = useEver(data);
  const keys = figures.value?.states.total ?? (data?.provider === "all" ? data.states.total : undefined);
  const begins = data !== undefined && (keys === 0 || ever === false);
  useEffect(() => {
    if (begins) setGuided(true);
  }, [begins]);
  if (data) remember(data, begins || guided);

  const guide = (begins || guided) && html`<${FirstRun} data=${data} keys=${keys} ever=${ever === true} reload=${reload} leave=${begins ? null : () => setGuided(false)} />`;
  if (guide && ever === false) return html`<${PageHead} title=${t("nav.overview")} />${guide}`;
  const shown = ever === undefined ? undefined : data;
  return html`<${PageHead} title=${t("nav.overview")} sub=${html`<${LiveMark} />`}>
      <${Providers} all value=${provider} onChange=${(p) => setQuery({ provider: p === "all" ? "" : p })} />
      <${Seg} label=${t("overview.range")} name="range" value=${range} onChange=${(r) => setQuery({ range: r === "24h" ? "" : r })} options=${ranges.map((r) => [r, t(`overview.range.${r}`)])} />
    <//>
    ${error && data !== undefined && link.value !== "away" && html`<div class="note-box s-resting" role="status"><${Icon} name="offline" /><div>${t("overview.stale", { message: error.message })}</div></div>`}
    ${error && data === undefined
      ? html`<section class="panel"><${LoadError} error=${error} retry=${reload} title=${t("overview.error")} /></section>`
      : html`<${Page} data=${shown} busy=${loading} guide=${guide} provider=${provider} range=${range} />`}`; // words: overview.range.*
}

function Page({ data, busy, guide, provider, range }) {
  const narrow = usePhone();
  const stands = data && standing(data);
  const attention = html`<${Attention} data=${data} />`;
  return html`<div class="overview" aria-busy=${busy || data === undefined}>
    ${data && html`<${Store} storage=${data.storage} />`}
    ${guide || html`<${Verdict} data=${data} stands=${stands} provider=${provider} />`}
    ${narrow && attention}
    <${Figures} data=${data} inFlight=${stands?.inFlight} />
    <div class="cols two-one first-row"><${Traffic} data=${data} range=${range} />${!narrow && attention}</div>
    <div class="cols two-one"><${Models} data=${data} range=${range} /><${Rests} data=${data} /></div>
    <${Failures} data=${data} />
  </div>`;
}
