// Dialogs: the browser's own <dialog>, which keeps the focus inside and gives it
// back, and closes with Escape.
import { html, useEffect, useId, useRef, useState } from "../lib/preact.js";
import { rich, t } from "../lib/words.js";
import { Icon, Spinner } from "./icon.js";

/** What one wants to begin with in a dialog. */
const fields = ".body :is(input:not([type=radio]), input:checked, select, textarea, .btn.primary)";

/**
 * A dialog that is open as long as it is drawn. onClose is called by Escape, the
 * cross and a click beside it. The focus goes to what has data-first within, else
 * to its first field, and afterwards back to where it came from.
 */
export function Dialog({ title, onClose, children, footer, wide = false, busy = false }) {
  const ref = useRef(null);
  const gone = useRef(false);
  const id = useId();
  useEffect(() => {
    const d = ref.current;
    const before = document.activeElement;
    gone.current = false;
    if (!d.open) d.showModal();
    (d.querySelector("[data-first]") ?? d.querySelector(fields))?.focus();
    return () => {
      gone.current = true;
      d.close();
      // A dialog that is out of the page already gives nothing back.
      if (document.activeElement === document.body) before?.focus();
    };
  }, []);
  const cancel = (e) => {
    if (e.target !== ref.current) return; // of a choice of files within
    e.preventDefault();
    if (!busy) onClose();
  };
  // Browsers close a dialog at the second Escape, whatever was said to the first.
  const closed = () => {
    if (gone.current) return;
    if (busy) ref.current.showModal();
    else onClose();
  };
  const beside = (e) => {
    if (e.target === ref.current && !busy) onClose();
  };
  return html`<dialog ref=${ref} class=${`dialog${wide ? " wide" : ""}`} aria-labelledby=${id} onCancel=${cancel} onClose=${closed} onMouseDown=${beside}>
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
 * typed where it is large and something is destroyed. act is called and awaited; onClose follows when it
 * succeeded. What it throws is shown in the dialog. With ready false it waits,
 * as for the count.
 */
export function Confirm({ title, children, count = 1, label, act, onClose, destroys = true, ready = true }) {
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const id = useId();
  const submit = useRef(null);
  // While it waits it cannot have the focus, which is then on the cross.
  useEffect(() => {
    if (ready && !destroys && document.activeElement?.closest("dialog > header")) submit.current?.focus();
  }, [ready]);
  const open = ready && (count <= typedAbove || !destroys || typed.replace(/[\s,.]/g, "") === String(count));
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
  const asks = destroys && count > typedAbove;
  const footer = html`<button type="button" class="btn" data-first=${(destroys && !asks) || undefined} disabled=${busy} onClick=${onClose}>${t("cancel")}</button>
    <button ref=${submit} type="submit" form=${`${id}-form`} class=${`btn ${destroys ? "destroy" : "primary"}`} data-first=${!destroys || undefined} disabled=${!open || busy} aria-busy=${busy}>${busy && html`<${Spinner} />`}${label}</button>`;
  return html`<${Dialog} title=${title} onClose=${onClose} busy=${busy} footer=${footer}>
    <form id=${`${id}-form`} class="form" onSubmit=${run}>
      <div>${children}</div>
      ${asks && html`<div class="field">
        <label for=${`${id}-count`}>${rich("confirm.type", { count: String(count) })}</label>
        <input class="input" id=${`${id}-count`} data-first inputmode="numeric" autocomplete="off" placeholder=${String(count)} value=${typed} onInput=${(e) => setTyped(e.target.value)} />
      </div>`}
      ${error && html`<${ErrorNote} error=${error} />`}
    </form>
  <//>`;
}

/** What a call failed with, as a note within a form or a panel. */
export const ErrorNote = ({ error }) => html`<div class="note-box s-failed" role="alert"><${Icon} name="failed" />
  <div>${error.request ? rich("error.request", { message: error.message, id: error.request }) : error.message}</div>
</div>`;
