// The attempts of a request: dots in a list, and one below the other with what
// each proved, what was done about it, and when it ran.
import { html } from "../lib/preact.js";
import { millisText } from "../lib/format.js";
import { actionText, nextText, plainReason, scopeName } from "../lib/reasons.js";
import { address } from "../lib/router.js";
import { rich, t } from "../lib/words.js";
import { Icon } from "./icon.js";

/**
 * What an attempt proved about its key, as a state of keys: "active" for one
 * that served, "resting" for one that is out for a time or for a model,
 * "failed" for one that was refused, "disabled" for nothing.
 */
function proved({ ok, scope, status, action }) {
  if (ok) return "active";
  if (action?.startsWith("rest") || scope === "key+model") return "resting";
  if (scope !== "key" && scope !== "account") return "disabled";
  if (action === undefined) return status === 429 ? "resting" : "failed";
  return action === "fail key" ? "failed" : "disabled";
}

const said = (status) => (status ? String(status) : t("http.none"));

const most = 8; // dots that are shown

/** The attempts as dots: round for one that served, square else. Of many some are left out, but never the last. */
export function Dots({ trail }) {
  if (trail.length === 0) return html`<span class="muted">–</span>`;
  const label = t("list.of", { what: t("trail.attempts", { n: trail.length }), of: trail.map((s) => said(s.status)).join(t("list.comma")) });
  const over = trail.length - most;
  const shown = over > 0 ? [...trail.slice(0, most - 1), trail.at(-1)] : trail;
  return html`<span class="dots" role="img" aria-label=${label} title=${label}>${shown.map((s, i) => html`${over > 0 && i === most - 1 && html`<small>+${over}</small>`}<i key=${i} class=${`s-${proved(s)}`}></i>`)}</span>`;
}

/** The address of a key's panel, from the id of the key. */
export const keyAddress = (provider, id) => address("/dashboard/keys", { provider, key: id });

function KeyLink({ provider, step }) {
  if (step.apiKey) return html`<a href=${keyAddress(provider, step.key)} title=${t("trail.key")}><code>${step.apiKey}</code></a>`;
  return html`<code title=${t("trail.key.gone")}>${step.key}</code>`;
}

/** When an attempt began, when its answer did, and when it ended, in ms after the request's start. */
function times(entry, step) {
  const end = step.beganMs + step.durationMs;
  const begun = step.ok || step.status >= 200 && step.status < 300; // an answer, if perhaps not a whole one
  if (!begun || step !== entry.steps.at(-1)) return [step.beganMs, end, end];
  const last = Math.max(end, entry.durationMs);
  return entry.firstByteMs > step.beganMs ? [step.beganMs, Math.min(entry.firstByteMs, last), last] : [step.beganMs, end, last];
}

const least = 0.8; // percent that a bar is wide at least, so that it is seen

function Fall({ whole, times: [began, first, end], flows }) {
  const at = (ms) => (100 * Math.min(ms, whole)) / whole;
  const x = Math.min(at(began), 100 - least);
  const part = (cls, from, to) => html`<rect class=${cls} x=${`${from}%`} width=${`${Math.min(100 - from, Math.max(least, to - from))}%`} height="100%" rx="2" />`;
  return html`<svg class="fall" aria-hidden="true"><rect class="rail" width="100%" height="100%" rx="4" />
    ${flows && at(first) - x > least && part("wait", x, at(first))}
    ${flows ? part("flow", Math.min(Math.max(x, at(first)), 100 - least), at(end)) : part("flow", x, at(end))}
  </svg>`;
}

/** What became of an attempt, in a word or two beside its status. */
function outcome(entry, step) {
  if (!step.ok) return plainReason(step.reason) || t("trail.failed");
  return entry.stream ? t("trail.streamed") : t("trail.answered");
}

/** What was done about it. */
function told(entry, step, [began, first, end]) {
  if (step.ok) {
    const wait = millisText(first - began);
    return end - first < 1 ? t("trail.first", { wait }) : t("trail.first.rest", { wait, rest: millisText(end - first) });
  }
  const parts = [actionText(step), step.scope === "none" || step.action === "strike breaker" ? "" : t("trail.fault", { scope: scopeName(step.scope) }), nextText(step)];
  return parts.filter(Boolean).join(t("trail.and"));
}

/** The attempts of a request, as the API tells it: a list with a bar of its time for each. */
export function Trail({ entry }) {
  const whole = Math.max(entry.durationMs, ...entry.steps.map((s) => s.beganMs + s.durationMs), 0.1);
  return html`<ol class="trail">
    ${entry.steps.map((step, i) => {
      const state = proved(step);
      const ran = times(entry, step);
      return html`<li key=${i} class=${`s-${state}`}>
        <span class="dot"><${Icon} name=${state === "disabled" ? "minus" : state} /></span>
        <span class="what"><b>${said(step.status)}</b> ${outcome(entry, step)} <small>${rich("trail.what", { key: html`<${KeyLink} provider=${entry.provider} step=${step} />`, what: told(entry, step, ran) })}</small></span>
        <${Fall} whole=${whole} times=${ran} flows=${step.ok || ran[2] > ran[1]} />
        <span class="num">${millisText(ran[2] - ran[0])}</span>
      </li>`;
    })}
  </ol>`;
}
