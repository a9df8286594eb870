// Charts over time, drawn by uPlot: bars of success and failure, and lines for
// several series. The numbers of a chart are in a table for screen readers too.
import uPlot from "../../vendor/uplot/uplot.js";
import { html, useLayoutEffect, useRef, useState } from "../lib/preact.js";
import { moment, number, short, shortText } from "../lib/format.js";
import { colour, colours } from "../lib/theme.js";
import { language, locale, t } from "../lib/words.js";

const steps = { minute: 60, hour: 3600, day: 86400 };
const height = 200;

const clock = (d) => new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(d);
const date = (d) => new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short" }).format(d);

/** The label of a point below the chart. */
const tickLabel = (s, step) => (step === "day" ? date(new Date(s * 1000)) : clock(new Date(s * 1000)));

/** What a point covers: 13:00 – 14:00, or a day. */
export function period(at, step, days) {
  const from = new Date(at);
  if (step === "day") return date(from);
  const to = new Date(from.getTime() + steps[step] * 1000);
  return `${days ? `${date(from)}, ` : ""}${clock(from)} – ${clock(to)}`;
}

/** The range of the axis of values: round, and never flat. */
const values = (u, min, max) => [0, Math.max(4, max * 1.04)];

function axes(step) {
  const grid = { stroke: colour("--grid"), width: 1 };
  const ink = colour("--text-3");
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [
    { stroke: ink, font, grid: { show: false }, ticks: { show: false }, border: { show: true, stroke: colour("--line-strong"), width: 1 }, size: 26, gap: 6,
      space: 64, values: (u, ticks) => ticks.map((s) => tickLabel(s, step)), incrs: step === "day" ? [1, 2, 3, 5, 7, 10].map((n) => n * 86400) : [60, 300, 600, 900, 3600, 7200, 10800, 21600, 43200, 86400] },
    { stroke: ink, font, grid, ticks: { show: false }, size: (u, texts) => (texts ?? []).reduce((n, s) => Math.max(n, s.length * 7.5), 12) + 8, gap: 6,
      space: 42, values: (u, ticks) => ticks.map((n) => (n < 1 && n > 0 ? "" : shortText(n, 10000))) },
  ];
}

/** A pattern that tells failures apart without colours, too. */
function hatched(base) {
  const c = document.createElement("canvas");
  const px = devicePixelRatio;
  c.width = c.height = 6 * px;
  const x = c.getContext("2d");
  x.fillStyle = base;
  x.fillRect(0, 0, c.width, c.height);
  x.strokeStyle = colour("--surface");
  x.globalAlpha = 0.45;
  x.lineWidth = px;
  x.beginPath();
  for (const at of [-1, 0, 1]) {
    x.moveTo(at * c.width, c.height);
    x.lineTo((at + 1) * c.width, 0);
  }
  x.stroke();
  return x.createPattern(c, "repeat");
}

/**
 * Draws a chart into an element and keeps it in step with its size, the theme
 * and the language. make gives the options of uPlot from a width and a height.
 */
function useChart(make, data, deps) {
  const box = useRef(null);
  const [at, setAt] = useState(null);
  const version = `${colours.value} ${language.value}`;
  useLayoutEffect(() => {
    const e = box.current;
    const options = make(e.clientWidth, e.clientHeight || height);
    options.cursor = { ...options.cursor, y: false, drag: { x: false, y: false }, points: { show: options.points ?? false } };
    options.legend = { show: false };
    options.hooks = { setCursor: [(u) => setAt(under(u))] };
    const chart = new uPlot(options, data, e);
    const seen = new ResizeObserver(() => {
      if (e.clientWidth > 0) chart.setSize({ width: e.clientWidth, height: e.clientHeight || height });
    });
    seen.observe(e);
    return () => {
      seen.disconnect();
      chart.destroy();
      setAt(null);
    };
  }, [version, JSON.stringify(deps)]);
  return { box, at };
}

/** The point under the pointer: its number, where it is, and how wide its room is; null beside the chart. */
function under(u) {
  const i = u.cursor.idx;
  if (i === null || i === undefined || u.cursor.left < 0) return null;
  const origin = u.bbox.left / devicePixelRatio;
  const xs = u.data[0];
  const room = xs.length > 1 ? Math.abs(u.valToPos(xs[1], "x") - u.valToPos(xs[0], "x")) : u.bbox.width / devicePixelRatio;
  return { i, left: origin + u.valToPos(xs[i], "x"), width: u.width, room, top: u.bbox.top / devicePixelRatio, height: u.bbox.height / devicePixelRatio };
}

/** What marks the point under the pointer: the band of a bar, or a line. */
const Under = ({ at, band }) => at && html`<div class=${band ? "cursor-room" : "cursor-at"} aria-hidden="true" style=${{ left: `${band ? at.left - at.room / 2 : at.left}px`, width: band ? `${at.room}px` : undefined, top: `${at.top}px`, height: `${at.height}px` }}></div>`;

/** The box beside the pointer; it stands on the side that has more room. */
function Tip({ at, title, rows }) {
  if (!at) return null;
  const left = at.left < at.width / 2;
  return html`<div class="tip" aria-hidden="true" style=${{ top: "0.5rem", left: left ? `${at.left + 16}px` : "auto", right: left ? "auto" : `${at.width - at.left + 16}px` }}>
    <b>${title}</b><dl>${rows.map(([mark, name, value]) => html`<dt>${mark}${name}</dt><dd>${value}</dd>`)}</dl></div>`;
}

/** The numbers of a chart, for those who do not see it. */
const Told = ({ label, heads, rows }) => html`<div class="sr-only"><table><caption>${label}</caption><thead><tr>${heads.map((h) => html`<th scope="col">${h}</th>`)}</tr></thead>
  <tbody>${rows.map((r) => html`<tr>${r.map((c, i) => (i === 0 ? html`<th scope="row">${c}</th>` : html`<td>${c}</td>`))}</tr>`)}</tbody></table></div>`;

const okMark = html`<i class="swatch ok"></i>`;
const badMark = html`<i class="swatch bad"></i>`;

/** The legend of Bars. */
export const BarsLegend = () => html`<span>${okMark}${t("chart.success")}</span><span>${badMark}${t("chart.failure")}</span>`;

/**
 * Bars of success with failure on top. points are { at, success, failure }, step
 * is "minute", "hour" or "day", label says what it is, tall makes it higher.
 */
export function Bars({ points, step, label, tall = false }) {
  const seconds = steps[step];
  const xs = points.map((p) => Date.parse(p.at) / 1000);
  const data = [xs, points.map((p) => p.success + p.failure), points.map((p) => p.success)];
  const days = step === "hour" && points.length > 25;
  const { box, at } = useChart((width, height) => {
    const bars = uPlot.paths.bars({ size: [0.72, 40], align: 0 });
    const ok = colour("--traffic");
    const bad = hatched(colour("--failed-fill"));
    return {
      width, height, padding: [8, 4, 0, 0],
      scales: { x: { range: () => [xs[0] - seconds / 2, xs[xs.length - 1] + seconds / 2] }, y: { range: values } },
      axes: axes(step),
      series: [{}, { paths: bars, fill: () => bad, width: 0, points: { show: false } }, { paths: bars, fill: () => ok, width: 0, points: { show: false } }],
      cursor: { x: false },
    };
  }, data, [data, step]);
  const p = at && points[at.i];
  return html`<div class=${`chart canvas${tall ? " tall" : ""}`}>
    <div ref=${box} class="plot" role="img" aria-label=${label}></div>
    <${Under} at=${at} band />
    ${p && html`<${Tip} at=${at} title=${period(p.at, step, days)} rows=${[[okMark, t("chart.success"), number(p.success)], [badMark, t("chart.failure"), number(p.failure)]]} />`}
    <${Told} label=${label} heads=${[t("chart.time"), t("chart.success"), t("chart.failure")]} rows=${points.map((o) => [moment(o.at), number(o.success), number(o.failure)])} />
  </div>`;
}

/** The dashes that tell series apart besides their colours, as in the stylesheet. */
const dashes = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 2], [1, 4]];

/** How a series is marked in a legend or a hover box; n counts from 0. */
export const LineMark = ({ n }) => html`<svg class="swatch-line" viewBox="0 0 22 8" aria-hidden="true"><path class=${`series c${(n % 6) + 1}`} d="M0 4H22" /></svg>`;

/**
 * Lines of several series over the same times. at is the times, series are
 * { name, values, n } with n the number of its colour and dash. format draws a
 * value as text.
 */
export function Lines({ at: times, series, step, label, tall = true, format = (v) => number(v) }) {
  const xs = times.map((a) => Date.parse(a) / 1000);
  const data = [xs, ...series.map((s) => s.values)];
  const days = step === "hour" && times.length > 25;
  const { box, at } = useChart((width, height) => ({
    width, height, padding: [8, 8, 0, 0],
    scales: { x: { range: () => [xs[0], xs[xs.length - 1]] }, y: { range: values } },
    axes: axes(step),
    series: [{}, ...series.map((s) => ({ stroke: colour(`--c${(s.n % 6) + 1}`), width: 1.75, dash: dashes[s.n % 6], cap: s.n % 6 === 5 ? "round" : "butt", points: { show: false } }))],
  }), data, [data, step]);
  const here = at && times[at.i];
  return html`<div class=${`chart canvas${tall ? " tall" : ""}`}>
    <div ref=${box} class="plot" role="img" aria-label=${label}></div>
    <${Under} at=${at} />
    ${here && html`<${Tip} at=${at} title=${period(here, step, days)} rows=${series.map((s) => [html`<${LineMark} n=${s.n} />`, s.name, format(s.values[at.i] ?? 0)])} />`}
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
        ${bad > 0 && html`<rect class="bar-bad" x=${`${i * w + w * 0.14}%`} y=${`${100 - good - bad}%`} width=${`${w * 0.72}%`} height=${`${bad}%`} />`}</g>`;
    })}
    <line class="baseline" x1="0" x2="100%" y1="100%" y2="100%" />
  </svg>`;
}

/** A figure with its unit smaller. */
export const Figure = ({ of: { value, unit } }) => html`${value}${unit && html` <small>${unit}</small>`}`;

/** A count as a figure: whole up to ten millions. */
export const Count = ({ n }) => html`<${Figure} of=${short(n, 1e8)} />`;
