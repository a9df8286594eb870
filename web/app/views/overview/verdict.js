// The verdict: one word and one sentence before any figure, and the bars of all
// keys and of each provider.
import { html } from "../../lib/preact.js";
import { hour, number, share } from "../../lib/format.js";
import { figures } from "../../lib/live.js";
import { plainReason } from "../../lib/reasons.js";
import { address } from "../../lib/router.js";
import { language, rich, t } from "../../lib/words.js";
import { providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { Health, stateName, states } from "../../parts/state.js";
import { Until } from "../../parts/time.js";
import { shape } from "./shape.js";

/** How things stand: what was loaded, with the live figures over it where they are newer. */
export function standing(data) {
  const live = figures.value;
  const out = { verdict: data.verdict, states: data.states, inFlight: data.inFlight.now, providers: data.providers };
  if (!live || Date.parse(live.timestamp) < Date.parse(data.timestamp)) return out;
  out.providers = data.providers.map((p) => {
    const now = live.providers.find((l) => l.provider === p.provider);
    return now ? { ...p, enabled: now.enabled, verdict: now.verdict, states: now.states, inFlight: now.inFlight, breaker: now.breaker } : p;
  });
  const of = data.provider === "all" ? live : live.providers.find((l) => l.provider === data.provider);
  return of ? { ...out, verdict: of.verdict, states: of.states, inFlight: of.inFlight } : out;
}

const tones = { healthy: "active", strained: "resting", down: "failed", empty: "disabled" };

/** The state whose colour and icon a verdict has. */
const toneOf = (v) => (v.reason === "provider_disabled" ? "disabled" : tones[v.verdict]);

const setting = (p) => `DISABLE_${p.toUpperCase()}`;

/** What stands between two sentences. */
const gap = () => (language.value === "zh" ? "" : " ");

/** The sentence of a verdict. */
function why(stands, provider) {
  const v = stands.verdict;
  const counts = { serving: v.serving, total: v.total };
  const broken = stands.providers.find((p) => p.breaker.open && p.enabled && p.states.total > 0);
  const since = broken?.breaker.since ? t("overview.why.since", { at: hour(broken.breaker.since) }) : "";
  const off = stands.providers.find((p) => !p.enabled) ?? { provider };
  switch (v.reason) {
    case "fewer_than_half_serve":
      return [rich("overview.why.fewer", counts), returns(v)];
    case "no_key_serves":
      return [rich("overview.why.none", counts), returns(v)];
    case "breaker_open":
    case "all_refused": {
      if (!broken) return rich("overview.why.none", counts); // it closed meanwhile
      const of = { provider: providerName(broken.provider), since, serving: broken.states.active, total: broken.states.total };
      const said = broken.breaker.refusal ? rich("overview.why.refused", { ...of, reason: plainReason(broken.breaker.refusal) }) : rich("overview.why.silent", of);
      const others = stands.providers.filter((p) => p.verdict.reason === "serving").map((p) => t("overview.why.others", { provider: providerName(p.provider) }));
      return [said, others.map((o) => gap() + o)];
    }
    case "provider_disabled":
      return rich("overview.why.off", { provider: providerName(off.provider), setting: setting(off.provider) });
    case "no_keys":
      return rich("overview.why.empty", { provider: providerName(provider) });
    default:
      return [rich("overview.why.serving", counts), v.returning > 0 && returns(v)];
  }
}

function returns(v) {
  if (v.returning === 0) return v.serving < v.total ? gap() + t(v.serving === 0 ? "overview.returns.no" : "overview.returns.none") : "";
  const span = html`<${Until} at=${v.nextReturn} />`;
  return [gap(), rich(v.returning === 1 ? "overview.returns.one" : "overview.returns", { n: v.returning, span })];
}

/** What mends it, as a link; null where there is nothing to do. */
function actOf(v, stands, provider) {
  const one = provider === "all" ? undefined : provider;
  const broken = stands.providers.find((p) => p.breaker.open && p.enabled);
  if (v.reason === "breaker_open" || v.reason === "all_refused") {
    return { href: address("/dashboard/requests", { provider: broken?.provider ?? one, status: "failed" }), label: t("overview.act.failures") };
  }
  if (v.reason === "no_keys") return { href: address("/dashboard/import", { provider: one }), label: t("overview.act.add"), primary: true };
  if (v.reason === "no_key_serves" || v.reason === "fewer_than_half_serve") {
    const worst = states.slice(1).reduce((a, b) => (stands.states[b] > stands.states[a] ? b : a));
    return { href: address("/dashboard/keys", { provider: one ?? mostOf(stands, worst), status: worst }), label: t("overview.act.keys") };
  }
  return null;
}

/** The provider with the most keys of a state. */
const mostOf = (stands, state) => stands.providers.reduce((a, b) => (b.states[state] > a.states[state] ? b : a)).provider;

/** The panel; data is the overview, stands what standing made of it. */
export function Verdict({ data, stands, provider }) {
  if (!data) return html`<${Bones} provider=${provider} />`;
  const v = stands.verdict;
  const tone = toneOf(v);
  const word = v.reason === "provider_disabled" ? t("overview.verdict.off") : t(`overview.verdict.${v.verdict}`); // words: overview.verdict.*
  const act = actOf(v, stands, data.provider);
  return html`<section class=${`panel verdict s-${tone} is-${v.verdict}`} aria-labelledby="verdict">
    <div class="verdict-line"><h2 id="verdict"><${Icon} name=${tone} /><span role="status">${word}</span></h2><p>${why(stands, data.provider)}</p>
      ${act && html`<a class=${`btn small${act.primary ? " primary" : ""}`} href=${act.href}>${act.label}</a>`}</div>
    <${Health} of=${stands.states} />
    <div class="states">${states.map((s) => html`<a key=${s} class=${`s-${s}`} href=${address("/dashboard/keys", { provider: data.provider === "all" ? mostOf(stands, s) : data.provider, status: s })}>
      <${Icon} name=${s} /><span class="name">${stateName(s)}</span><span class="n">${number(stands.states[s])}<small>${share(stands.states[s], stands.states.total)}</small></span></a>`)}</div>
    ${stands.providers.length > 1 && html`<ul class="providers">${stands.providers.map((p) => html`<${Provider} key=${p.provider} of=${p} />`)}</ul>`}
  </section>`;
}

/** How a provider stands, in a word: [tone, word]. */
function standOf(p) {
  if (!p.enabled) return ["disabled", t("overview.off")];
  if (p.states.total === 0) return ["disabled", t("overview.empty")];
  if (p.breaker.open) return ["failed", p.breaker.refusal ? t("overview.refuses") : t("overview.silent")];
  if (p.verdict.verdict === "healthy") return ["active", t("overview.serves")];
  return p.verdict.verdict === "strained" ? ["resting", t("overview.strained")] : ["failed", t("overview.down")];
}

function Provider({ of: p }) {
  const [tone, word] = standOf(p);
  const href = p.states.total === 0 ? address("/dashboard/import", { provider: p.provider }) : address("/dashboard/keys", { provider: p.provider });
  const name = providerName(p.provider);
  return html`<li><b><a class="row-link" href=${href}>${name}</a></b>
    <${Health} of=${p.states} slim label=${t("overview.provider.keys", { provider: name })} />
    <span class="num lo">${number(p.states.active)} <span class="hint">/ ${number(p.states.total)}</span></span>
    <span class=${`state s-${tone}`}><${Icon} name=${tone} />${word}</span>
    <span class="num lo">${p.success + p.failure > 0 ? t("overview.success", { rate: share(p.success, p.success + p.failure, 2) }) : "–"}</span>
    <span class="num lo muted">${number(p.inFlight)} <span class="hint">${t("overview.inflight")}</span></span></li>`;
}

const Bones = ({ provider }) => html`<section class="panel verdict" aria-hidden="true">
  <div class="verdict-line"><h2><span class="bone word"></span></h2><p><span class="bone sentence"></span></p></div>
  <div class="health bone"></div>
  <div class="states">${states.map((s) => html`<a key=${s} class=${`s-${s}`}><${Icon} name=${s} /><span class="name">${stateName(s)}</span><span class="n"><span class="bone w2"></span></span></a>`)}</div>
  ${provider === "all" && shape().providers > 1 && html`<ul class="providers">${["ollama", "openrouter"].map((p) => html`<li key=${p}><b>${providerName(p)}</b><div class="health slim bone"></div><span class="state">${"\u00a0"}</span></li>`)}</ul>`}
</section>`;
