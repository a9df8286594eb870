// Dialogs: the browser's own <dialog>, which keeps the focus inside and gives it
// back, and closes with Escape.
import { html, useEffect, useId, useRef, useState } from "../lib/preact.js";
import { rich, t } from "../lib/words.js";
import { Icon, Spinner } from "./icon.js";

/** A dialog that is open as long as it is drawn. onClose is called by Escape, the cross and a click beside it. */
export function Dialog({ title, onClose, children, footer, wide = false, busy = false }) {
  const ref = useRef(null);
  const id = useId();
  useEffect(() => {
    const d = ref.current;
    if (!d.open) d.showModal();
    return () => d.close();
  }, []);
  const cancel = (e) => {
    e.preventDefault();
    if (!busy) onClose();
  };
  const beside = (e) => {
    if (e.target === ref.current && !busy) onClose();
  };
  return html`<dialog ref=${ref} class=${`dialog${wide ? " wide" : ""}`} aria-labelledby=${id} onCancel=${cancel} onMouseDown=${beside}>
    <header><h2 id=${id}>${title}</h2>
      <button type="button" class="btn ghost square small" aria-label=${t("close")} title=${t("close")} disabled=${busy} onClick=${onClose}><${Icon} name="close" /></button>
    </header>
    <div class="body">${children}</div>
    ${footer && html`<footer>${footer}</footer>`}
  </dialog>`;
}

/** Above so many of them, the count of what a destructive act touches is typed. */
export const typedAbove = 100;

/**
 * Asks before something that cannot be undone: names the count, and wants it
 * typed where it is large. act is called and awaited; onClose follows when it
 * succeeded. What it throws is shown in the dialog.
 */
export function Confirm({ title, children, count = 1, label, act, onClose, destroys = true }) {
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const id = useId();
  const open = count <= typedAbove || typed.replace(/[\s,.]/g, "") === String(count);
  const run = async (e) => {
    e.preventDefault();
    if (!open || busy) return;
    setBusy(true);
    setError(null);
    try {
      await act();
      onClose();
    } catch (e) {
      setBusy(false);
      if (e.name !== "AbortError") setError(e);
    }
  };
  const footer = html`<button type="button" class="btn" disabled=${busy} onClick=${onClose}>${t("cancel")}</button>
    <button type="submit" form=${`${id}-form`} class=${`btn ${destroys ? "destroy" : "primary"}`} disabled=${!open || busy} aria-busy=${busy}>${busy && html`<${Spinner} />`}${label}</button>`;
  return html`<${Dialog} title=${title} onClose=${onClose} busy=${busy} footer=${footer}>
    <form id=${`${id}-form`} class="form" onSubmit=${run}>
      <div>${children}</div>
      ${count > typedAbove && html`<div class="field">
        <label for=${`${id}-count`}>${rich("confirm.type", { count: String(count) })}</label>
        <input class="input" id=${`${id}-count`} inputmode="numeric" autocomplete="off" placeholder=${String(count)} value=${typed} onInput=${(e) => setTyped(e.target.value)} />
      </div>`}
      ${error && html`<${ErrorNote} error=${error} />`}
    </form>
  <//>`;
}

/** What a call failed with, as a note within a form or a panel. */
export const ErrorNote = ({ error }) => html`<div class="note-box s-failed" role="alert"><${Icon} name="failed" />
  <div>${error.request ? rich("error.request", { message: error.message, id: error.request }) : error.message}</div>
</div>`;
