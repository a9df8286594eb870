// Charts over time, drawn by uPlot: bars of success and failure, and lines for
// several series. The numbers of a chart are in a table for screen readers too,
// and the arrow keys go from point to point.
import uPlot from "../../vendor/uplot/uplot.js";
import { html, useLayoutEffect, useRef } from "../lib/preact.js";
import { moment, number, short } from "../lib/format.js";
import { colour } from "../lib/theme.js";
import { t } from "../lib/words.js";
import { axes, axisText, beside, byDays, clock, date, hatched, steps, topOf, useChart } from "./plot.js";

/** What a point covers: 13:00 – 14:00, or a day. */
function period(at, step, days) {
  const from = new Date(at);
  if (step === "day") return date(from);
  const to = new Date(from.getTime() + steps[step] * 1000);
  return `${days ? `${date(from)}, ` : ""}${clock(from)} – ${clock(to)}`;
}

const px = (n) => `${n}px`;

/** What marks the point that is looked at: the band of a bar and the bar itself, or a line. */
const Under = ({ at, band }) => at && html`
  <div class=${band ? "cursor-room" : "cursor-at"} aria-hidden="true" style=${{ left: px(band ? at.left - at.room / 2 : at.left), width: band ? px(at.room) : undefined, top: px(at.top), height: px(at.height) }}></div>
  ${at.bar && html`<div class="cursor-bar" aria-hidden="true" style=${{ left: px(at.bar.left), top: px(at.bar.top), width: px(at.bar.width), height: px(at.bar.height) }}></div>`}`;

/** The box beside the point that is looked at; it stands on the side that has more room, and within the chart. */
function Tip({ at, title, rows }) {
  const ref = useRef(null);
  useLayoutEffect(() => {
    const e = ref.current;
    const wide = e.offsetWidth;
    const gap = Math.min(at.room / 2, 24) + 8;
    const left = at.left < at.width / 2 ? at.left + gap : at.left - gap - wide;
    e.style.left = px(Math.max(0, Math.min(left, at.width - wide)));
  });
  return html`<div ref=${ref} class="tip" aria-hidden="true"><b>${title}</b><dl>${rows.map(([mark, name, value]) => html`<dt>${mark}${name}</dt><dd>${value}</dd>`)}</dl></div>`;
}

/** The point that the keys have gone to, in words. */
const Spoken = ({ at, title, rows }) => html`<span class="sr-only" role="status">${at?.keyed && t("list.of", { what: title, of: rows.map(([, name, value]) => `${name} ${value}`).join(t("list.comma")) })}</span>`;

/** The numbers of a chart, for those who do not see it. */
const Told = ({ label, heads, rows }) => html`<div class="sr-only"><table><caption>${label}</caption><thead><tr>${heads.map((h) => html`<th scope="col">${h}</th>`)}</tr></thead>
  <tbody>${rows.map((r) => html`<tr>${r.map((c, i) => (i === 0 ? html`<th scope="row">${c}</th>` : html`<td>${c}</td>`))}</tr>`)}</tbody></table></div>`;

const okMark = html`<i class="swatch ok"></i>`;
const badMark = html`<i class="swatch bad"></i>`;

/** The legend of Bars. */
export const BarsLegend = () => html`<span>${okMark}${t("chart.success")}</span><span>${badMark}${t("chart.failure")}</span>`;

/** The heights of bars: all of it, of which a failure never vanishes, and the success of it. */
function heights(points) {
  const most = Math.max(0, ...points.map((p) => p.success + p.failure));
  const least = most / 120;
  return [points.map((p) => p.success + (p.failure > 0 ? Math.max(p.failure, least) : 0)), points.map((p) => p.success)];
}

/** The options of bars. */
function barsOf(width, height, step) {
  const half = steps[step] / 2;
  const bars = uPlot.paths.bars({ size: [0.72, 40], align: 0, each: (u, series, i, left, top, wide, high) => {
    if (series === 2) (u.bars ??= [])[i] = { left, top, width: wide, height: high };
  } });
  const ok = colour("--traffic");
  const bad = hatched(colour("--failed-fill"));
  return {
    width, height, padding: [8, beside, 0, 0],
    scales: { x: { range: (u) => [u.data[0][0] - half, u.data[0].at(-1) + half] }, y: { range: (u) => [0, topOf(u)] } },
    axes: axes(step, axisText),
    series: [{}, { paths: bars, fill: () => bad, width: 0, points: { show: false } }, { paths: bars, fill: () => ok, width: 0, points: { show: false } }],
    hooks: { drawClear: [(u) => (u.bars = [])] },
  };
}

/**
 * Bars of success with failure on top. points are { at, success, failure }, step
 * is "minute", "hour" or "day", label says what it is, tall makes it higher,
 * none is said where there is nothing at all.
 */
export function Bars({ points, step, label, tall = false, none = "" }) {
  const xs = points.map((p) => Date.parse(p.at) / 1000);
  const data = [xs, ...heights(points)];
  const { at, plot } = useChart((width, height) => barsOf(width, height, step), data, step);
  const p = at && points[at.i];
  const title = p && period(p.at, step, byDays(xs, step));
  const rows = p ? [[okMark, t("chart.success"), number(p.success)], [badMark, t("chart.failure"), number(p.failure)]] : [];
  return html`<div class=${`chart canvas${tall ? " tall" : ""}`}>
    <div ...${plot} aria-label=${label}></div>
    <${Under} at=${at} band />
    ${p && html`<${Tip} at=${at} title=${title} rows=${rows} />`}
    ${none !== "" && points.every((o) => o.success + o.failure === 0) && html`<p class="nothing">${none}</p>`}
    <${Spoken} at=${at} title=${title} rows=${rows} />
    <${Told} label=${label} heads=${[t("chart.time"), t("chart.success"), t("chart.failure")]} rows=${points.map((o) => [moment(o.at), number(o.success), number(o.failure)])} />
  </div>`;
}

/** The dashes that tell series apart besides their colours, as in the stylesheet. */
const dashes = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 2], [1, 4]];

/** How a series is marked in a legend or a hover box; n counts from 0. */
export const LineMark = ({ n }) => html`<svg class="swatch-line" viewBox="0 0 22 8" aria-hidden="true"><path class=${`series c${(n % 6) + 1}`} d="M0 4H22" /></svg>`;

/** The options of lines. */
function linesOf(width, height, step, series, axis) {
  return {
    width, height, padding: [8, beside, 0, 0],
    scales: { x: { range: (u) => (u.data[0].length > 1 ? [u.data[0][0], u.data[0].at(-1)] : [u.data[0][0] - steps[step], u.data[0][0] + steps[step]]) }, y: { range: (u) => [0, topOf(u)] } },
    axes: axes(step, axis),
    series: [{}, ...series.map((s) => ({ stroke: colour(`--c${(s.n % 6) + 1}`), width: 1.75, dash: dashes[s.n % 6], cap: s.n % 6 === 5 ? "round" : "butt", points: { show: false } }))],
  };
}

/**
 * Lines of several series over the same times. at is the times, series are
 * { name, values, n } with n the number of its colour and dash. format draws a
 * value as text, axis one at the axis.
 */
export function Lines({ at: times, series, step, label, tall = true, format = (v) => number(v), axis = axisText, none = "" }) {
  const xs = times.map((a) => Date.parse(a) / 1000);
  const data = [xs, ...series.map((s) => s.values)];
  const { at, plot } = useChart((width, height) => linesOf(width, height, step, series, axis), data, `${step} ${series.map((s) => s.n).join(",")}`);
  const here = at && times[at.i];
  const title = here && period(here, step, byDays(xs, step));
  const rows = here ? series.map((s) => [html`<${LineMark} n=${s.n} />`, s.name, format(s.values[at.i] ?? 0)]) : [];
  return html`<div class=${`chart canvas${tall ? " tall" : ""}`}>
    <div ...${plot} aria-label=${label}></div>
    <${Under} at=${at} />
    ${here && html`<${Tip} at=${at} title=${title} rows=${rows} />`}
    ${none !== "" && series.every((s) => s.values.every((v) => !v)) && html`<p class="nothing">${none}</p>`}
    <${Spoken} at=${at} title=${title} rows=${rows} />
    <${Told} label=${label} heads=${[t("chart.time"), ...series.map((s) => s.name)]} rows=${times.map((a, i) => [moment(a), ...series.map((s) => format(s.values[i] ?? 0))])} />
  </div>`;
}

/** A row of small bars without axes: attempts by the hour in a panel. points are { at, success, failure }. */
export function MiniBars({ points, label }) {
  const most = Math.max(1, ...points.map((p) => p.success + p.failure));
  const w = 100 / points.length;
  return html`<svg class="mini" role="img" aria-label=${label}>
    ${points.map((p, i) => {
      const good = (100 * p.success) / most;
      const bad = (100 * p.failure) / most;
      return html`<g><title>${moment(p.at)}: ${number(p.success)} / ${number(p.failure)}</title>
        ${good > 0 && html`<rect class="bar-ok" x=${`${i * w + w * 0.14}%`} y=${`${100 - good}%`} width=${`${w * 0.72}%`} height=${`${good}%`} />`}
        ${bad > 0 && html`<rect class="bar-bad" x=${`${i * w + w * 0.14}%`} y=${`${100 - good - bad}%`} width=${`${w * 0.72}%`} height=${`${bad}%`} /><rect class="f-hatch" x=${`${i * w + w * 0.14}%`} y=${`${100 - good - bad}%`} width=${`${w * 0.72}%`} height=${`${bad}%`} />`}</g>`;
    })}
    <line class="baseline" x1="0" x2="100%" y1="100%" y2="100%" />
  </svg>`;
}

/** A figure with its unit smaller. */
export const Figure = ({ of: { value, unit } }) => html`${value}${unit && html`${unit === "%" ? "" : " "}<small>${unit}</small>`}`;

/** A count as a figure: whole up to ten millions. */
export const Count = ({ n }) => html`<${Figure} of=${short(n, 1e8)} />`;
