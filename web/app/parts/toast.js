// Short messages at the bottom right: three at most, errors stay until closed.
import { html, signal } from "../lib/preact.js";
import { t } from "../lib/words.js";
import { Icon } from "./icon.js";

const most = 3;
const stays = 6000; // ms that a good message stays
const shown = signal([]);
let last = 0;

/**
 * Shows a message. state is a state of keys or "info" ("failed" for errors,
 * which stay), text its first line, more a second one, act an optional
 * { label, run }.
 */
export function toast({ state = "active", text, more = "", act = null }) {
  const one = { id: ++last, state, text, more, act };
  shown.value = [...shown.value, one].slice(-most);
  if (state !== "failed") setTimeout(() => dismiss(one.id), act ? 2 * stays : stays);
  return () => dismiss(one.id);
}

/** Shows what a call failed with. A call that was given up is no failure. */
export function toastError(error, text = t("error.act")) {
  if (error.name === "AbortError") return;
  toast({ state: "failed", text, more: error.request ? t("error.request", { message: error.message, id: error.request }) : error.message });
}

const dismiss = (id) => (shown.value = shown.value.filter((o) => o.id !== id));

const icons = { info: "info" };

/** Where the messages are shown; once a page. */
export const Toasts = () => html`<div class="toasts" role="region" aria-label=${t("toast.region")} aria-live="polite">
  ${shown.value.map((o) => html`<div key=${o.id} class=${`toast s-${o.state}`} role=${o.state === "failed" ? "alert" : "status"}>
    <${Icon} name=${icons[o.state] ?? o.state} />
    <div>${o.text}${o.more && html`<small>${o.more}</small>`}</div>
    ${o.act && html`<button class="btn small ghost" onClick=${() => { dismiss(o.id); o.act.run(); }}>${o.act.label}</button>`}
    <button class="btn small ghost square" aria-label=${t("close")} title=${t("close")} onClick=${() => dismiss(o.id)}><${Icon} name="close" /></button>
  </div>`)}
</div>`;
