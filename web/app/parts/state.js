// How keys stand: always colour, icon and word together.
import { html } from "../lib/preact.js";
import { number } from "../lib/format.js";
import { t } from "../lib/words.js";
import { Icon } from "./icon.js";

/** The states, in the order in which they are shown everywhere. */
export const states = ["active", "resting", "failed", "disabled", "expired"];

/** The name of a state. */
export const stateName = (state) => t(`state.${state}`); // words: state.*

/** A state in a table, with what is to be said besides: until when, by whom. */
export const State = ({ state, children }) => html`<span class=${`state s-${state}`}><${Icon} name=${state} />${stateName(state)}${children && html` <small>${children}</small>`}</span>`;

/** A state as a badge. */
export const Badge = ({ state, children }) => html`<span class=${`badge s-${state}`}><${Icon} name=${state} />${children ?? stateName(state)}</span>`;

/** The status of an answer; seen says that it is the one that a client saw, of which 4xx speaks against nobody but the client. */
export function Http({ status, seen = false }) {
  if (!status) return html`<span class=${`http s-${seen ? "disabled" : "failed"}`}>${t("http.none")}</span>`;
  const tone = status < 400 ? "active" : status === 429 ? "resting" : seen && status < 500 ? "disabled" : "failed";
  return html`<span class=${`http s-${tone}`}>${String(status)}</span>`;
}

const patterns = { resting: "hatch", failed: "cross", expired: "dots" };
const least = 0.5; // percent that a state gets that has any key

/** The shares of the states in percent, of which none that is there vanishes. */
function shares(of) {
  const total = states.reduce((n, s) => n + (of[s] ?? 0), 0);
  if (total === 0) return [];
  const wide = states.filter((s) => of[s] > 0).map((s) => ({ state: s, share: Math.max(least, (100 * of[s]) / total) }));
  const sum = wide.reduce((n, w) => n + w.share, 0);
  let x = 0;
  return wide.map((w) => {
    const one = { ...w, x, width: (100 * w.share) / sum };
    x += one.width;
    return one;
  });
}

/** The bar of all states. of holds the count of each; label says whose they are. */
export function Health({ of, slim = false, label = t("health.label") }) {
  const spoken = states.map((s) => `${number(of[s] ?? 0)} ${stateName(s)}`).join(t("list.comma"));
  return html`<svg class=${`health${slim ? " slim" : ""}`} role="img" aria-label=${t("list.of", { what: label, of: spoken })}>
    ${shares(of).map((w, i) => html`
      ${i > 0 && html`<rect class="gap" x=${`${w.x}%`} width="2" height="100%" />`}
      <rect class=${`f-${w.state}`} x=${`${w.x}%`} width=${`${w.width}%`} height="100%" />
      ${patterns[w.state] && html`<rect class=${`f-${patterns[w.state]}`} x=${`${w.x}%`} width=${`${w.width}%`} height="100%" />`}
      ${i > 0 && html`<rect class="gap" x=${`${w.x}%`} width="2" height="100%" />`}`)}
  </svg>`;
}

/** The patterns that Health uses; once a page. */
export const Patterns = () => html`<svg width="0" height="0" class="defs" aria-hidden="true"><defs>
  <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="pat" d="M0 0V6" /></pattern>
  <pattern id="cross" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><path class="pat" d="M0 0V5M0 0H5" /></pattern>
  <pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse"><circle class="pat-dot" cx="2.5" cy="2.5" r="1" /></pattern>
</defs></svg>`;

/** A share of 0 to 100 as a small bar. It is decoration beside its number. */
export const Meter = ({ share, state = "" }) => html`<svg class=${`meter ${state && `s-${state}`}`} aria-hidden="true"><rect width=${`${Math.min(100, Math.max(0, share))}%`} height="100%" rx="3" /></svg>`;
