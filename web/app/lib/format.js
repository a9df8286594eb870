// Numbers, times and durations as the reader writes them. Times are in the
// reader's zone, with 24 hours.
import { language, locale, t } from "./words.js";

const cache = new Map();

function made(kind, options, code = locale()) {
  const key = kind.name + code + JSON.stringify(options);
  let f = cache.get(key);
  if (!f) cache.set(key, (f = new kind(code, options)));
  return f;
}

/** The reader's time zone, as the API takes it. */
export function zone() {
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return !name || name === "Etc/Unknown" ? "UTC" : name;
}

const none = "–"; // where there is no number or time to write

/** 12480 → 12,480. */
export const number = (n, digits = 0) => (Number.isFinite(typeof n === "string" ? Number(n) : n) ? made(Intl.NumberFormat, { maximumFractionDigits: digits, signDisplay: "negative" }).format(n) : none);

/**
 * A large number with its unit apart: 1460000000 → { value: "1.46", unit: "B" },
 * in Chinese { value: "14.6", unit: "亿" }. What is below whole stays whole.
 */
export function short(n, whole = 100000) {
  if (!(Math.abs(n) >= whole - 0.5)) return { value: number(n, Math.abs(n) < 10 ? 2 : 0), unit: "" };
  const code = language.value === "zh" ? "zh-CN" : "en-US"; // British English writes m for a million
  const parts = made(Intl.NumberFormat, { notation: "compact", maximumSignificantDigits: 3 }, code).formatToParts(n);
  const of = (unit) => parts.filter((p) => (p.type === "compact") === unit && p.type !== "literal").map((p) => p.value).join("");
  return { value: of(false), unit: of(true).replace("K", "k") };
}

/** The same as one piece of text: "1.46 B". */
export function shortText(n, whole) {
  const { value, unit } = short(n, whole);
  return unit === "" ? value : `${value}\u202f${unit}`;
}

/** A share of 0 to 100 → "98.5%"; takes the API's texts as well. */
export const percent = (p, digits = 1) =>
  Number.isFinite(Number(p)) ? made(Intl.NumberFormat, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(Number(p) / 100) : none;

/** The share of a part, as percent shows it: never 0% or 100% where that is not so. */
export function share(part, whole, digits = 1) {
  if (!(whole > 0)) return percent(0, digits);
  const p = (100 * part) / whole;
  const least = 10 ** -digits;
  if (part > 0 && p < least) return `<${percent(least, digits)}`;
  if (part < whole && p > 100 - least) return percent(100 - least, digits);
  return percent(p, digits);
}

/** A long name without its middle: names of models differ at their ends. */
export function middle(text, most = 32) {
  const all = [...text];
  if (all.length <= most) return text;
  const head = Math.ceil(0.4 * (most - 1));
  return `${all.slice(0, head).join("")}…${all.slice(head + 1 - most).join("")}`;
}

/** Milliseconds with their unit apart: { value: "412", unit: "ms" }. */
export function millis(ms) {
  if (!Number.isFinite(ms)) return { value: none, unit: "" };
  if (ms < 999.5) return { value: number(ms, ms < 9.95 ? 1 : 0), unit: t("unit.ms") };
  if (ms < 59500) return { value: number(ms / 1000, ms < 9950 ? 1 : 0), unit: t("unit.s") };
  return { value: number(ms / 60000, 1), unit: t("unit.min") };
}

export const millisText = (ms) => {
  const { value, unit } = millis(ms);
  return unit === "" ? value : `${value}\u202f${unit}`;
};

/** A size: 31900000 → "31.9 MB". */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; i++) n /= 1000;
  return `${number(n, i === 0 || n >= 99.95 ? 0 : 1)}\u202f${units[i]}`;
}

/** A length of time in seconds, in its two largest units: "3 h 28 min". */
export function span(seconds) {
  if (Number.isNaN(seconds)) return none;
  const s = Math.max(0, Math.round(seconds));
  const say = (n, unit) => `${number(n)}\u202f${t(unit)}`;
  if (s < 60) return say(s, "unit.s");
  if (s < 3600) return two(s, 60, "unit.min", "unit.s", s < 600);
  if (s < 86370) return two(s, 3600, "unit.h", "unit.min", true);
  return two(s, 86400, "unit.d", "unit.h", s < 7 * 86400);

  function two(whole, size, big, small, both) {
    const per = size === 60 ? 1 : size === 3600 ? 60 : 3600;
    let n = Math.floor(whole / size);
    let rest = Math.round((whole - n * size) / per);
    if (rest * per >= size) {
      n++;
      rest = 0;
    }
    return both && rest > 0 ? `${say(n, big)} ${say(rest, small)}` : say(n, big);
  }
}

const asDate = (at) => (at instanceof Date ? at : new Date(at));

/** Makes what writes a time; of what is no time it writes a dash. */
const written = (format) => (at, now = new Date()) => {
  const d = asDate(at);
  return Number.isNaN(d.getTime()) ? none : format(d, now);
};

const yearOf = (d, now) => (d.getFullYear() === now.getFullYear() ? {} : { year: "numeric" });
const sameDay = (a, b) => a.toDateString() === b.toDateString();

/** A time today is a time (14:31:52), an older or later one a date (20 Nov). */
export const when = written((d, now) =>
  sameDay(d, now) ? made(Intl.DateTimeFormat, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(d) : day(d, now));

/** A date, with the year where it is another one: 20 Nov, 20 Nov 2025. */
export const day = written((d, now) => made(Intl.DateTimeFormat, { day: "numeric", month: "short", ...yearOf(d, now) }).format(d));

/** An hour and minute today (18:00), within the week with its day (Mon 08:00), else the date. */
export const hour = written((d, now) => {
  const clock = made(Intl.DateTimeFormat, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(d);
  if (sameDay(d, now)) return clock;
  if (Math.abs(d - now) < 6.5 * 86400e3) return `${made(Intl.DateTimeFormat, { weekday: "short" }).format(d)} ${clock}`;
  return day(d, now);
});

/** Date and time in full, with the zone's offset: what a hint over a time shows. */
export const moment = written((d) =>
  made(Intl.DateTimeFormat, {
    day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short",
  }).format(d));

/** Date and time to the minute, with the year where it is another one: 20 Nov, 09:02. */
export const stamp = written((d, now) =>
  made(Intl.DateTimeFormat, { day: "numeric", month: "short", ...yearOf(d, now), hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(d));

/** Date and time to the minute: 2 Nov 2026, 10:04. */
export const dated = written((d) =>
  made(Intl.DateTimeFormat, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(d));

/** How long until a time, or since it, in seconds; never below 0. */
export const secondsUntil = (at, now = Date.now()) => Math.max(0, (asDate(at) - now) / 1000);
export const secondsSince = (at, now = Date.now()) => Math.max(0, (now - asDate(at)) / 1000);
