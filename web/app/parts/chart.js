// Charts over time, drawn by uPlot: bars of success and failure, and lines for
// several series. The numbers of a chart are in a table for screen readers too,
// and the arrow keys go from point to point.
import uPlot from "../../vendor/uplot/uplot.js";
import { html, useLayoutEffect, useRef, useState } from "../lib/preact.js";
import { moment, number, short } from "../lib/format.js";
import { colour, colours } from "../lib/theme.js";
import { language, locale, t } from "../lib/words.js";

const steps = { minute: 60, hour: 3600, day: 86400 };
const height = 200;
const beside = 10; // px that a label may reach over the plot's right side

const clock = (d) => new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(d);
const date = (d) => new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short" }).format(d);

/** What a point covers: 13:00 – 14:00, or a day. */
export function period(at, step, days) {
  const from = new Date(at);
  if (step === "day") return date(from);
  const to = new Date(from.getTime() + steps[step] * 1000);
  return `${days ? `${date(from)}, ` : ""}${clock(from)} – ${clock(to)}`;
}

/** Whether the labels of points are dates: hours of several days are told apart by their days. */
const byDays = (xs, step) => step === "day" || (step === "hour" && xs.length > 25);

/** How far apart labels may be, in minutes, hours or days, and what they count. */
const everyOf = { minute: [5, 10, 15, 20, 30], hour: [1, 2, 3, 4, 6, 8, 12], days: [1, 2, 3, 5, 7, 10] };

/** The points that get a label: round times of the reader's day, as close as the width allows. */
function labelled(u, step) {
  const xs = u.data[0];
  const width = u.bbox.width / devicePixelRatio;
  const days = byDays(xs, step);
  const at = xs.map((x) => new Date(x * 1000));
  const may = step === "hour" && days ? xs.filter((_, i) => at[i].getHours() === 0) : xs;
  const room = may === xs ? width / Math.max(1, xs.length) : (width * 24) / xs.length;
  const kinds = everyOf[days ? "days" : step];
  const every = kinds.find((n) => n * room >= (days ? 56 : 60)) ?? kinds[kinds.length - 1];
  if (days) return may.filter((_, i) => (may.length - 1 - i) % every === 0);
  return xs.filter((_, i) => (step === "minute" ? at[i].getMinutes() : at[i].getHours()) % every === 0);
}

let pen = null;

/** How wide a text is on a canvas. */
function widthOf(text, font) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = font;
  return pen.measureText(text).width;
}

/** The distance of the lines of the grid: round and whole, and five at most up to a value. */
function gridStep(most) {
  const raw = Math.max(1, most) / 5;
  const ten = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((n) => n * ten >= raw) * ten;
  return step < 1 || step === 2.5 ? Math.ceil(step) : step;
}

const mostOf = (u) => {
  let most = 0;
  for (let s = 1; s < u.data.length; s++) for (const v of u.data[s]) if (v > most) most = v;
  return most;
};

/** The end of the axis of values: the line of the grid above the highest point. */
function topOf(u) {
  const step = gridStep(mostOf(u));
  return Math.max(1, Math.ceil(mostOf(u) / step)) * step;
}

function axes(step, of) {
  const grid = { stroke: colour("--grid"), width: 1 };
  const ink = colour("--text-3");
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const label = (u, s) => {
    const text = byDays(u.data[0], step) ? date(new Date(s * 1000)) : clock(new Date(s * 1000));
    const right = u.valToPos(s, "x") + widthOf(text, font) / 2;
    return right <= u.bbox.width / devicePixelRatio + beside ? text : "";
  };
  return [
    { stroke: ink, font, grid: { show: false }, ticks: { show: false }, border: { show: true, stroke: colour("--line-strong"), width: 1 }, size: 24, gap: 6,
      splits: (u) => labelled(u, step), values: (u, ticks) => ticks.map((s) => label(u, s)) },
    { stroke: ink, font, grid, ticks: { show: false }, gap: 8,
      size: (u, texts) => Math.ceil((texts ?? []).reduce((n, s) => Math.max(n, widthOf(s, font)), 8)) + 9,
      splits: (u) => {
        const by = gridStep(mostOf(u));
        return Array.from({ length: Math.round(topOf(u) / by) + 1 }, (_, i) => i * by);
      },
      values: (u, ticks) => ticks.map((n) => of(n)) },
  ];
}

/** A number at the axis of values: 40 k, 1.5 M. */
function axisText(n) {
  const { value, unit } = short(n, 10000);
  return unit === "" ? value : `${value}\u202f${unit}`;
}

/** A pattern that tells failures apart without colours, too. */
function hatched(base) {
  const c = document.createElement("canvas");
  const px = devicePixelRatio;
  c.width = c.height = Math.round(5 * px);
  const x = c.getContext("2d");
  x.fillStyle = base;
  x.fillRect(0, 0, c.width, c.height);
  x.strokeStyle = colour("--surface");
  x.globalAlpha = 0.5;
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
 * Draws a chart into an element and keeps it in step with its data, its size,
 * the theme and the language. make gives the options of uPlot from a width and a
 * height; kind says what of them is not in the data. Returns the ref of the
 * element, the point that is looked at, and what its keys do.
 */
function useChart(make, data, kind) {
  const box = useRef(null);
  const chart = useRef(null);
  const [at, setAt] = useState(null);
  const version = `${colours.value} ${language.value} ${kind}`;
  const drawn = useRef("");
  const text = JSON.stringify(data);
  useLayoutEffect(() => {
    const e = box.current;
    const options = make(Math.max(60, e.clientWidth), e.clientHeight || height);
    options.cursor = { y: false, x: false, drag: { x: false, y: false }, points: { show: false } };
    options.legend = { show: false };
    options.hooks = { ...options.hooks, setCursor: [(u) => setAt((was) => (was?.keyed && u.cursor.left < 0 ? was : pointed(u)))] };
    const u = new uPlot(options, data, e);
    chart.current = u;
    drawn.current = text;
    setAt(null);
    const fit = () => {
      if (e.clientWidth === 0 || (u.width === e.clientWidth && u.height === e.clientHeight)) return;
      setAt(null);
      u.setSize({ width: e.clientWidth, height: e.clientHeight || height });
    };
    const seen = new ResizeObserver(fit);
    seen.observe(e);
    return () => {
      seen.disconnect();
      chart.current = null;
      u.destroy();
    };
  }, [version]);
  useLayoutEffect(() => {
    const u = chart.current;
    if (!u || drawn.current === text) return;
    drawn.current = text;
    u.setData(data);
    setAt((was) => (was === null ? null : was.i < data[0].length ? place(u, was.i, was.keyed) : null));
  }, [text, version]);
  const keys = (e) => {
    const u = chart.current;
    const last = (u?.data[0].length ?? 0) - 1;
    if (last < 0 || e.metaKey || e.ctrlKey || e.altKey) return;
    if (e.key === "Escape" && at) return void setAt(null);
    const now = at?.i ?? last + 1;
    const to = { ArrowLeft: Math.max(0, now - 1), ArrowRight: Math.min(last, at ? now + 1 : last), Home: 0, End: last }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    setAt(place(u, to, true));
  };
  return { box, at, plot: { ref: box, class: "plot", tabindex: 0, role: "group", onKeyDown: keys, onBlur: () => setAt(null) } };
}

/** The point under the pointer, null beside the chart. */
function pointed(u) {
  const i = u.cursor.idx;
  return i === null || i === undefined || u.cursor.left < 0 ? null : place(u, i, false);
}

/** A point: its number, where it is, and how wide its room is; keyed says that keys went there. */
function place(u, i, keyed) {
  const px = devicePixelRatio;
  const xs = u.data[0];
  const wide = u.bbox.width / px;
  const room = xs.length > 1 ? Math.abs(u.valToPos(xs[Math.max(1, i)], "x") - u.valToPos(xs[Math.max(1, i) - 1], "x")) : wide;
  const bar = u.bars?.[i];
  return {
    i, keyed, room, left: u.bbox.left / px + u.valToPos(xs[i], "x"), width: u.width, top: u.bbox.top / px, height: u.bbox.height / px,
    bar: bar && { left: bar.left / px, top: bar.top / px, width: bar.width / px, height: bar.height / px },
  };
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
const Spoken = ({ at, title, rows }) => html`<span class="sr-only" role="status">${at?.keyed && `${title}: ${rows.map(([, name, value]) => `${name} ${value}`).join(", ")}`}</span>`;

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
export const Figure = ({ of: { value, unit } }) => html`${value}${unit && html` <small>${unit}</small>`}`;

/** A count as a figure: whole up to ten millions. */
export const Count = ({ n }) => html`<${Figure} of=${short(n, 1e8)} />`;
