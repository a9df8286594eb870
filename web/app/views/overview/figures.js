// The six figures of the range, and its chart.
import { html } from "../../lib/preact.js";
import { hour, millis, millisText, number, percent, share, short, shortText } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Bars, BarsLegend, Figure } from "../../parts/chart.js";

/** Requests against the period before, in words. change is in percent, null where that had none. */
function change(of, range) {
  if (of.requests === 0) return t("overview.none");
  if (of.change === null) return t(`overview.new.${range}`); // words: overview.new.*
  const moved = Math.abs(of.change);
  if (moved < 0.05) return t(`overview.same.${range}`); // words: overview.same.*
  const by = { share: percent(moved, moved < 100 ? 1 : 0) };
  return of.change > 0 ? t(`overview.up.${range}`, by) : t(`overview.down.${range}`, by); // words: overview.up.* overview.down.*
}

const whole = (n) => (n < 1e7 ? { value: number(n), unit: "" } : short(n));

/** The figures: a name, the value with its unit, and a note each. */
function rows(data, inFlight) {
  const f = data.figures;
  const judged = f.success + f.failure > 0;
  const { peak, peakAt } = data.inFlight;
  const highest = Math.max(peak, inFlight);
  const highestAt = inFlight > peak || !peakAt ? new Date() : peakAt;
  return [
    ["overview.requests", whole(f.requests), change(f, data.range.name)],
    ["overview.rate", judged ? { value: share(f.success, f.success + f.failure, 2).replace("%", ""), unit: "%" } : { value: "–", unit: "" }, f.failure > 0 ? t("overview.failed", { n: f.failure }) : judged ? t("overview.failed.none") : t("overview.none")],
    ["overview.tokens", short(f.tokensIn + f.tokensOut), t("overview.tokens.note", { in: shortText(f.tokensIn), out: shortText(f.tokensOut) })],
    ["overview.first", millis(f.firstByte?.p50), f.firstByte ? t("overview.first.note", { time: millisText(f.firstByte.p95) }) : f.requests > 0 ? t("overview.first.none") : t("overview.none")],
    ["overview.flight", whole(inFlight), highest > 0 ? t("overview.flight.peak", { n: highest, at: hour(highestAt) }) : t("overview.flight.none")],
    ["overview.clients", whole(data.tokens.total), t("overview.clients.note", { n: data.tokens.used24h })],
  ];
}

const names = ["overview.requests", "overview.rate", "overview.tokens", "overview.first", "overview.flight", "overview.clients"];

/** The figures; data is the overview, inFlight how many requests are in flight now. */
export const Figures = ({ data, inFlight }) => html`<dl class="figures">
  ${data
    ? rows(data, inFlight).map(([name, value, note]) => html`<div key=${name}><dt>${t(name)}</dt><dd><${Figure} of=${value} /></dd><dd class="note">${note}</dd></div>`)
    : names.map((name) => html`<div key=${name}><dt>${t(name)}</dt><dd><span class="bone w2"></span></dd><dd class="note"><span class="bone w3"></span></dd></div>`)}
</dl>`;

/** The chart of requests. */
export function Traffic({ data, range }) {
  const shown = data?.range.name ?? range;
  const per = t(`overview.per.${shown}`); // words: overview.per.*
  return html`<section class="panel fill" aria-label=${t("overview.chart")}>
    <div class="panel-head"><h2>${t("overview.chart")}</h2><span class="sub">${per}</span><div class="actions legend"><${BarsLegend} /></div></div>
    <div class="panel-body">
      ${data
        ? html`<${Bars} points=${data.series} step=${data.range.step} label=${t("overview.chart") + t("list.comma") + per} none=${t("overview.chart.none")} />`
        : html`<div class="chart canvas" aria-hidden="true"><div class="plot"></div></div>`}
    </div>
  </section>`;
}
