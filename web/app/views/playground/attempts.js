// How the request fared here: its attempts, the key that served, and its entry
// in the log; and the same call in code.
import { html, signal } from "../../lib/preact.js";
import { rich, t } from "../../lib/words.js";
import { address } from "../../lib/router.js";
import { example, languages } from "../../docs/examples.js";
import { Code } from "../../parts/copy.js";
import { Tabs } from "../../parts/tabs.js";
import { Trail } from "../../parts/trail.js";
import { run, running } from "./draft.js";

const language = signal("curl");

/** The call of a request as an example in a language takes it; the token is a variable. */
export const exampleOf = (call, language) => ({
  method: call.method, url: call.url, stream: call.body.stream,
  headers: { Authorization: "Bearer $TOKEN", ...call.headers }, body: JSON.stringify(call.body, null, language === "curl" ? 2 : 0),
});

const outcome = (entry) => (entry.steps.at(-1)?.ok ? "served" : entry.cache === "HIT" ? "cached" : "failed");

/** What is said beside the title: how many attempts, and how they ended. */
function told(r) {
  if (r.entry) return t(`playground.attempts.${outcome(r.entry)}`, { n: r.entry.steps.length }); // words: playground.attempts.*
  if (r.attempts > 0) return t("playground.attempts.n", { n: r.attempts });
  return "";
}

function Body({ r }) {
  if (r.entry) return r.entry.steps.length > 0 ? html`<${Trail} entry=${r.entry} />` : html`<p class="hint">${t(r.cache === "HIT" ? "playground.attempts.cache" : "playground.attempts.none")}</p>`;
  if (r.log === "off") return html`<p class="hint">${rich("playground.log.off", { settings: (text) => html`<a href="/dashboard/settings?q=REQUEST_LOG">${text}</a>` })}</p>`;
  if (r.log === "missing" && r.phase === "failed" && r.attempts === 0) return html`<p class="hint">${t("playground.attempts.none")}</p>`;
  if (r.log === "missing") return html`<p class="hint">${t("playground.log.missing")}</p>`;
  if (!running() && !r.id) return html`<p class="hint">${t(r.phase === "stopped" ? "playground.attempts.stopped" : "playground.attempts.unsent")}</p>`;
  return html`<p class="hint">${t("playground.log.later")}</p>`;
}

/** The panel of the attempts; nothing before the first request. */
export function Attempts() {
  const r = run.value;
  if (r === null) return null;
  return html`<section class="panel" aria-label=${t("playground.attempts")}><div class="panel-head"><h2>${t("playground.attempts")}</h2><span class="sub">${told(r)}</span>
      ${r.id && html`<div class="actions">${r.entry
        ? html`<a class="mono" href=${address("/dashboard/requests", { open: r.id })} title=${t("playground.request.open")}>${r.id}</a>`
        : html`<code class="muted">${r.id}</code>`}</div>`}
    </div><div class="panel-body"><${Body} r=${r} /></div></section>`;
}

/** The panel with the call in code, from what is written now. */
export const InCode = ({ call }) => html`<section class="panel" aria-label=${t("playground.code")}><div class="panel-head"><h2>${t("playground.code")}</h2><span class="sub">${rich("playground.code.sub")}</span></div>
  <div class="panel-body"><${Tabs} label=${t("playground.code.languages")} items=${languages} value=${language.value} onChange=${(v) => (language.value = v)}
    panel=${html`<${Code} text=${example(language.value, exampleOf(call, language.value))} label=${t("playground.copy.code")} />`} /></div></section>`;
