// The answer as it comes in, with its times and counts.
import { html } from "../../lib/preact.js";
import { millis, number, span } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { rich, t } from "../../lib/words.js";
import { Code, Copy } from "../../parts/copy.js";
import { Button } from "../../parts/form.js";
import { Icon, Spinner } from "../../parts/icon.js";
import { Http } from "../../parts/state.js";
import { Blank } from "../../parts/table.js";
import { begin, draft, goOn, run, stop } from "./draft.js";
import { Text } from "./text.js";

const busy = (r) => r.phase === "waiting" || r.phase === "streaming";

function Mark({ r }) {
  if (r.phase === "waiting") return html`<span class="sub with-spin"><${Spinner} />${t("playground.waiting")}</span>`;
  if (r.phase === "streaming") return html`<span class="live">${t("playground.streaming")}</span>`;
  return html`${r.status !== undefined && html`<${Http} status=${r.status} />`}<span class="sub">${t(`playground.phase.${r.phase}`)}</span>${r.cache === "HIT" && html`<span class="tag">${t("playground.cached")}</span>`}`; // words: playground.phase.*
}

function Thinking({ r }) {
  if (r.thinking === "") return null;
  return html`<details class="thinking" open=${r.text === ""}><summary>${t("playground.thinking")}</summary><p>${r.thinking}</p></details>`;
}

/** What went wrong, in full: the protocol's message, the request's id, and the answer as it came. */
function Wrong({ r }) {
  const e = r.error;
  const said = reason(e.message);
  return html`<div class="note-box s-failed" role="alert"><${Icon} name="failed" /><div>
      <p>${said}</p>
      ${said !== e.message && html`<p class="hint" lang="en">${e.message}</p>`}
      ${e.retryAfter > 0 && html`<p>${t("playground.retry", { span: span(e.retryAfter) })}</p>`}
      ${r.id && html`<p class="hint">${t("playground.request")} <code>${r.id}</code></p>`}
    </div></div>
    ${e.raw && html`<${Code} text=${e.raw} label=${t("playground.copy.error")} />`}`;
}

const Turns = ({ turns }) => turns.length > 0 && html`<ol class="turns" aria-label=${t("playground.turns")}>
  ${turns.map((m, i) => html`<li key=${i} class=${`is-${m.role}`}><span class="sr-only">${t(`playground.role.${m.role}`)}</span>${m.role === "user" ? html`<p>${m.content}</p>` : html`<${Text} text=${m.content} />`}</li>`)}
</ol>`; // words: playground.role.*

const value = ({ value, unit }) => html`${value}${unit && html` <small>${unit}</small>`}`;

/** Tokens of the answer: counted by the upstream, or by the parts while it comes. */
function tokensOf(r) {
  if (r.tokensOut !== undefined) return { out: r.tokensOut, about: false };
  return { out: r.parts, about: true };
}

function Figures({ r }) {
  const end = r.endedAt ?? performance.now();
  const { out, about } = tokensOf(r);
  const ms = r.call.body.stream && r.firstAt !== undefined ? end - r.firstAt : end - r.began;
  const speed = out > 1 && ms > 50 && r.firstAt !== undefined ? out / (ms / 1000) : null;
  const sign = about && out > 0 ? "≈\u202f" : "";
  const rows = [
    [t("playground.first"), r.firstAt === undefined ? "–" : value(millis(r.firstAt - r.began))],
    [busy(r) ? t("playground.sofar") : t("playground.took"), value(millis(end - r.began))],
    [t("playground.tokens"), r.tokensIn === undefined && out === 0 ? "–" : html`${r.tokensIn !== undefined && html`${number(r.tokensIn)} <small>${t("playground.tokens.in")}</small> `}${sign}${number(out)} <small>${t("playground.tokens.out")}</small>`],
    [t("playground.speed"), speed === null ? "–" : html`${sign}${number(speed, speed < 10 ? 1 : 0)} <small>${t("playground.speed.unit")}</small>`],
  ];
  return html`<dl class="figures foot">${rows.map(([name, what]) => html`<div key=${name}><dt>${name}</dt><dd>${what}</dd></div>`)}</dl>`;
}

/** The panel of the answer. */
export function Answer() {
  const r = run.value;
  const on = r !== null && busy(r);
  const turns = r ? r.asked.slice(0, -1) : draft.value.history;
  const goes = r?.phase === "done" && r.text !== "" && draft.value.history.length < r.asked.length;
  return html`<section class="panel grow-panel" aria-label=${t("playground.answer")}><div class="panel-head"><h2>${t("playground.answer")}</h2>${r && html`<${Mark} r=${r} />`}
      <div class="actions">
        ${on && html`<span class="phone-only"><${Button} class="small" icon="stop" onClick=${stop}>${t("playground.stop")}<//></span>`}
        ${goes && html`<${Button} class="small ghost" icon="plus" onClick=${goOn}>${t("playground.goon")}<//>`}
        ${turns.length > 0 && !on && html`<${Button} class="small ghost" icon="refresh" onClick=${begin}>${t("playground.anew")}<//>`}
        ${r && r.text !== "" && html`<${Copy} text=${() => run.value.text} words class="small ghost" label=${t("copy")} />`}
      </div></div>
    ${r === null && turns.length === 0
      ? html`<${Blank} icon="playground" title=${t("playground.none")}>${rich("playground.none.more")}<//>`
      : html`<div class="answer" aria-live="polite" aria-busy=${String(on)}>
          <${Turns} turns=${turns} />
          ${r && turns.length > 0 && html`<p class="asked">${r.asked.at(-1).content}</p>`}
          ${r && html`<${Thinking} r=${r} /><${Text} text=${r.text} caret=${on} />`}
          ${r?.phase === "done" && r.text === "" && html`<p class="muted">${t("playground.empty")}</p>`}
          ${r?.error && html`<${Wrong} r=${r} />`}
        </div>`}
    ${r && html`<${Figures} r=${r} />`}
  </section>`;
}
