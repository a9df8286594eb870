// The drawing of charts by uPlot: axes, colours, and keeping in step with the
// data, the size, the theme and the language. The charts themselves are in
// chart.js.
import uPlot from "../../vendor/uplot/uplot.js";
import { useLayoutEffect, useRef, useState } from "../lib/preact.js";
import { short } from "../lib/format.js";
import { colour, colours } from "../lib/theme.js";
import { language, locale } from "../lib/words.js";

/** The length of a point in seconds. */
export const steps = { minute: 60, hour: 3600, day: 86400 };
const height = 200;
export const beside = 10; // px that a label may reach over the plot's right side

/** The time of a Date: 13:00. */
export const clock = (d) => new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(d);
/** The day of a Date: 20 Nov. */
export const date = (d) => new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short" }).format(d);

/** Whether the labels of points are dates: hours of several days are told apart by their days. */
export const byDays = (xs, step) => step === "day" || (step === "hour" && xs.length > 25);

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
export function topOf(u) {
  const step = gridStep(mostOf(u));
  return Math.max(1, Math.ceil(mostOf(u) / step)) * step;
}

/** The axes: of times with a point of step each, and of values that of writes. */
export function axes(step, of) {
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
export function axisText(n) {
  const { value, unit } = short(n, 10000);
  return unit === "" ? value : `${value}\u202f${unit}`;
}

/** A pattern that tells failures apart without colours, too. */
export function hatched(base) {
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
export function useChart(make, data, kind) {
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
