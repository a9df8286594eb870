// Short messages at the bottom right: three at most, errors stay until closed.
import { html, signal, useLayoutEffect, useRef } from "../lib/preact.js";
import { t } from "../lib/words.js";
import { Icon } from "./icon.js";

const most = 3;
const stays = 6000; // ms that a good message stays
const shown = signal([]);
let last = 0;

/**
 * Shows a message, once where the same is shown already. state is a state of
 * keys or "info", text its first line, more a second one, act an optional
 * { label, run }. With stays, and as an error, it stays until it is closed.
 */
export function toast({ state = "active", text, more = "", act = null, stays: kept = state === "failed" }) {
  const one = { id: ++last, state, text, more, act, kept };
  const now = shown.peek().filter((o) => o.text !== text || o.more !== more || o.state !== state);
  while (now.length >= most) now.splice(Math.max(0, now.findIndex((o) => !o.kept)), 1);
  shown.value = [...now, one];
  if (!kept) expire(one.id, act ? 2 * stays : stays);
  return () => dismiss(one.id);
}

// What somebody is reading, or about to press, does not go away under the hand.
function expire(id, ms) {
  setTimeout(() => {
    if (document.querySelector(".toasts")?.matches(":hover, :focus-within")) expire(id, 2000);
    else dismiss(id);
  }, ms);
}

/** Shows what a call failed with. A call that was given up is no failure. */
export function toastError(error, text = t("error.act")) {
  if (error.name === "AbortError") return;
  toast({ state: "failed", text, more: error.request ? t("error.request", { message: error.message, id: error.request }).replaceAll("`", "") : error.message });
}

const dismiss = (id) => (shown.value = shown.peek().filter((o) => o.id !== id));

const icons = { info: "info" };

/** Where the messages are shown; once a page. They stand above an open dialog, too. */
export function Toasts() {
  const ref = useRef(null);
  const newest = shown.value.at(-1)?.id;
  useLayoutEffect(() => {
    const e = ref.current;
    const open = e.matches(":popover-open");
    if (open && (newest === undefined || document.querySelector("dialog[open]"))) e.hidePopover();
    if (newest !== undefined && !e.matches(":popover-open")) e.showPopover();
  }, [newest]);
  return html`<div ref=${ref} class="toasts" popover="manual" role="region" aria-label=${t("toast.region")} aria-live="polite">
  ${shown.value.map((o) => html`<div key=${o.id} class=${`toast s-${o.state}`} role=${o.state === "failed" ? "alert" : "status"}>
    <${Icon} name=${icons[o.state] ?? o.state} />
    <div>${o.text}${o.more && html`<small>${o.more}</small>`}</div>
    ${o.act && html`<button type="button" class="btn small ghost" onClick=${() => { dismiss(o.id); o.act.run(); }}>${o.act.label}</button>`}
    <button type="button" class="btn small ghost square" aria-label=${t("close")} title=${t("close")} onClick=${() => dismiss(o.id)}><${Icon} name="close" /></button>
  </div>`)}
</div>`;
}
