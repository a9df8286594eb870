// One request that is open: its attempts, and all else that the log keeps of it.
import { html } from "../../lib/preact.js";
import { bytes, millisText, moment, number } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { address } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { Copy } from "../../parts/copy.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { LoadError } from "../../parts/table.js";
import { Trail } from "../../parts/trail.js";

/** What the client saw in the end. */
function saw(e) {
  const end = t(`requests.end.${e.outcome}`); // words: requests.end.*
  if (!e.status) return t("requests.saw.nothing", { end });
  return e.firstByteMs > 0 ? t("requests.saw", { status: String(e.status), time: millisText(e.firstByteMs), end }) : t("requests.saw.status", { status: String(e.status), end });
}

/** Tokens in and out, "" where none were used. */
export const tokensText = (e) => (e.tokensIn === 0 && e.tokensOut === 0 ? "" : `${number(e.tokensIn)} → ${number(e.tokensOut)}`);

const cacheText = (word) => t(`requests.cache.${word.toLowerCase()}`); // words: requests.cache.*

/** What is known besides. What a wide row shows already is said on narrow ones. */
function Facts({ of: e }) {
  const rows = [
    [t("requests.id"), html`<span class="with-copy"><code>${e.id}</code><${Copy} text=${e.id} label=${t("requests.id.copy")} class="small ghost" /></span>`],
    [t("requests.upstream"), e.upstreamRequestId && html`<code>${e.upstreamRequestId}</code>`],
    [t("requests.began"), html`<time datetime=${e.at}>${moment(e.at)}</time>`],
    [t("requests.client.saw"), saw(e)],
    [t("requests.error"), e.error && html`<span class="ink s-failed">${reason(e.error)}</span>`],
    [t("requests.token"), e.token.id && html`<a href=${address("/dashboard/requests", { token: e.token.id })} title=${t("requests.token.more")}>${e.token.name || e.token.id}</a>`],
    [t("requests.model"), e.model && html`<a href=${address("/dashboard/requests", { model: e.model })} title=${t("requests.model.more")}><code>${e.model}</code></a>`],
    [t("requests.path"), html`<code>${e.path}</code>`, "in-row"],
    [t("provider"), providerName(e.provider)],
    [t("requests.tokens"), tokensText(e) && t("requests.tokens.both", { in: e.tokensIn, out: e.tokensOut }), "in-row"],
    [t("requests.cost"), e.cost > 0 && t("requests.cost.credit", { n: number(e.cost, 6) })],
    [t("requests.sent"), t(e.stream ? "requests.sent.stream" : "requests.sent.whole", { size: bytes(e.sentBytes) })],
    [t("requests.cache"), e.cache && cacheText(e.cache)],
    [t("requests.address"), e.client && html`<code>${e.client}</code>`],
    [t("requests.agent"), e.agent],
  ];
  return html`<dl class="facts">${rows.filter(([, v]) => v).map(([name, v, cls]) => html`<dt key=${name} class=${cls}>${name}</dt><dd class=${cls}>${v}</dd>`)}</dl>`;
}

/** Why no key was asked. */
function Untried({ of: e }) {
  const hit = e.cache === "HIT";
  return html`<div class=${`note-box ${hit ? "s-active" : "s-disabled"}`}><${Icon} name=${hit ? "bolt" : "info"} /><div>${hit ? t("requests.untried.cache") : t("requests.untried")}</div></div>`;
}

/** load is what useLoad gave for the request; apart says that it is not among those that are listed. */
export function Detail({ load, apart }) {
  const { data: e, error, reload } = load;
  if (error && !e) return html`<${LoadError} error=${error} retry=${reload} title=${t("requests.one.error")} />`;
  if (!e) return html`<div class="attempts" aria-busy="true"><div class="bones"><span class="bone w3"></span><span class="bone w2"></span><span class="bone w4"></span></div></div>`;
  return html`${apart && html`<p class="hint apart">${t("requests.apart")}</p>`}
    <div class="attempts full">
      ${e.steps.length > 0 ? html`<${Trail} entry=${e} />` : html`<${Untried} of=${e} />`}
      <${Facts} of=${e} />
    </div>`;
}
