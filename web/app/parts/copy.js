// What is meant to be copied: buttons, code, and secrets that are shown once.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { t } from "../lib/words.js";
import { Icon } from "./icon.js";
import { toast, toastError } from "./toast.js";

/** Puts a text on the clipboard; over plain HTTP, where browsers forbid that, by selecting it. */
export async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not allowed here: the older way follows
    }
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  area.readOnly = true; // no keyboard slides in
  const before = document.activeElement;
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(area); // what lies behind a dialog cannot be selected
  area.focus({ preventScroll: true });
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus?.({ preventScroll: true });
  return done;
}

/** A button that copies a text, or what a function gives (it may wait); it says that it did, also to onCopied. */
export function Copy({ text, label = t("copy"), words = false, class: more = "small", onCopied = null }) {
  const [done, setDone] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const run = async () => {
    let what = text;
    try {
      if (typeof text === "function") what = await text();
    } catch (e) {
      toastError(e);
      return;
    }
    const ok = await copy(what);
    if (!ok) {
      toast({ state: "failed", text: t("copy.failed"), more: t("copy.failed.more") });
      return;
    }
    setDone(true);
    onCopied?.();
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 2000);
  };
  return html`<button type="button" class=${`btn ${more}${words ? "" : " square"}`} aria-label=${done ? t("copied") : label} title=${done ? t("copied") : label} onClick=${run}>
    <${Icon} name=${done ? "check" : "copy"} />${words && (done ? t("copied") : label)}</button>`;
}

/** Code with a button that copies it. children is how it is drawn, text what is copied. */
export const Code = ({ text, children, label, onCopied }) => html`<div class="code"><pre tabindex="0">${children ?? text}</pre><${Copy} text=${text} label=${label} onCopied=${onCopied} /></div>`;

/** A secret that is shown once. */
export const Secret = ({ text, label, onCopied, class: more = "" }) => html`<div class="secret"><code>${text}</code><${Copy} text=${text} label=${label} words class=${more} onCopied=${onCopied} /></div>`;
