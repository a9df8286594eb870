// Times, in the reader's zone, with the whole of it as a hint.
import { computed, html, signal } from "../lib/preact.js";
import { hour, moment, secondsSince, secondsUntil, span, when } from "../lib/format.js";
import { t } from "../lib/words.js";

/** The time now, in ms, every second while the page is looked at: for what counts down. */
export const now = signal(Date.now());
const tick = () => {
  if (!document.hidden) now.value = Date.now();
};
setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);

// At midnight what was a time becomes a date.
const today = computed(() => new Date(now.value).toDateString());
const of = (write, at) => today.value && write(at);

/** When a request of the log ended, which is how the log lists them. */
export const endedAt = (entry) => new Date(Date.parse(entry.at) + entry.durationMs).toISOString();

/** A time of the past: today as a time, older as a date. With nothing, a dash or what is given as none. */
export const When = ({ at, none = "–" }) =>
  at ? html`<time datetime=${at} title=${moment(at)}>${of(when, at)}</time>` : none;

/** A time ahead to the minute: 18:00, Mon 08:00, 20 Nov. */
export const Hour = ({ at, none = "–" }) =>
  at ? html`<time datetime=${at} title=${moment(at)}>${of(hour, at)}</time>` : none;

/** How long until a time: 40 s, 3 h 28 min. It counts down. */
export const Until = ({ at }) => html`<time datetime=${at} title=${moment(at)}>${span(secondsUntil(at, now.value))}</time>`;

/** How long ago: "3 min ago". */
export const Ago = ({ at, none = "–" }) =>
  at ? html`<time datetime=${at} title=${moment(at)}>${t("time.ago", { span: span(secondsSince(at, now.value)) })}</time>` : none;
