// The figures of the range.
import { html } from "../../lib/preact.js";
import { millis, millisText, number, share, short } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Figure } from "../../parts/chart.js";

const whole = (n) => (n < 1e7 ? { value: number(n), unit: "" } : short(n));
const each = (n) => number(n, n < 10 ? 1 : 0);

const names = ["analytics.requests", "analytics.rate", "analytics.duration", "analytics.first", "analytics.in", "analytics.out"];

/** The name of each figure, its value, and what stands below it. */
function rows(f) {
  const judged = f.success + f.failure > 0;
  const times = (of) => [millis(of?.p50), of ? t("analytics.p95", { time: millisText(of.p95) }) : t("analytics.none")];
  return [
    [whole(f.requests), f.requests > 0 ? t("analytics.attempts.each", { n: number(f.attemptsEach, 2) }) : t("analytics.none")],
    [{ value: judged ? share(f.success, f.success + f.failure, 2).replace("%", "") : "–", unit: judged ? "%" : "" }, f.failure > 0 ? t("analytics.failed", { n: f.failure }) : judged ? t("analytics.failed.none") : t("analytics.none")],
    times(f.duration),
    times(f.firstByte),
    [short(f.tokensIn), f.requests > 0 ? t("analytics.each", { n: each(f.tokensInEach) }) : t("analytics.none")],
    [short(f.tokensOut), f.requests === 0 ? t("analytics.none") : f.cost > 0 ? t("analytics.each.cost", { n: each(f.tokensOutEach), cost: number(f.cost, 2) }) : t("analytics.each", { n: each(f.tokensOutEach) })],
  ];
}

/** The figures; totals is undefined while nothing has come yet. */
export const Figures = ({ totals }) => html`<dl class="figures">
  ${totals
    ? rows(totals).map(([value, note], i) => html`<div key=${i}><dt>${t(names[i])}</dt><dd>${value.unit === "%" ? html`${value.value}<small>%</small>` : html`<${Figure} of=${value} />`}</dd><dd class="note">${note}</dd></div>`)
    : names.map((name, i) => html`<div key=${i}><dt>${t(name)}</dt><dd><span class="bone w2"></span></dd><dd class="note"><span class="bone w3"></span></dd></div>`)}
</dl>`;
