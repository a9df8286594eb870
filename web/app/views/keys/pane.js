// The panel beside the table: the whole story of one key, and what can be done
// with it. Where there is no room for two it lies over the table.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../lib/preact.js";
import { get } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { t } from "../../lib/words.js";
import { Copy, copy } from "../../parts/copy.js";
import { Button, IconButton } from "../../parts/form.js";
import { Menu } from "../../parts/menu.js";
import { Blank, LoadError } from "../../parts/table.js";
import { toast, toastError } from "../../parts/toast.js";
import { enable, endRest, named, reveal, verifyOne } from "./acts.js";
import { Events, Facts, Hours, Models } from "./story.js";
import { Why } from "./why.js";

const narrow = matchMedia("(max-width: 75.99rem)");

/** Whether the panel lies over the table. */
function useOver() {
  const [over, setOver] = useState(narrow.matches);
  useEffect(() => {
    const look = () => setOver(narrow.matches);
    narrow.addEventListener("change", look);
    return () => narrow.removeEventListener("change", look);
  }, []);
  return over;
}

/** Keeps the keyboard and the reader out of what lies below an element of the dashboard. */
function useAlone(ref, on) {
  useLayoutEffect(() => {
    if (!on || !ref.current) return undefined;
    const below = [];
    for (let e = ref.current; e.parentElement && !e.matches(".app"); e = e.parentElement) {
      for (const other of e.parentElement.children) {
        if (other !== e && !other.inert && !other.matches("dialog, .scrim")) below.push(other);
      }
    }
    for (const e of below) e.inert = true;
    return () => {
      for (const e of below) e.inert = false;
    };
  }, [on]);
}

const free = () => !document.querySelector("dialog[open], [popover]:popover-open");

/** The key's name: masked, or whole once somebody asked for it. */
function Head({ of: k, id, provider, onClose }) {
  const [whole, setWhole] = useState("");
  const [busy, setBusy] = useState(false);
  const show = async () => {
    if (whole) {
      setWhole("");
      return;
    }
    setBusy(true);
    try {
      setWhole(await reveal(provider, id));
    } catch (e) {
      toastError(e);
    }
    setBusy(false);
  };
  const text = async () => whole || reveal(provider, id);
  return html`<header>
    <h2 id="key-title" class="mono" tabindex="-1">${whole || k?.api_key || id}</h2>
    ${k && html`<${IconButton} icon=${whole ? "eye-off" : "eye"} label=${t(whole ? "keys.hide" : "keys.reveal")} class="ghost small" aria-pressed=${String(whole !== "")} disabled=${busy} onClick=${show} />
    <${Copy} text=${text} label=${t("keys.copy")} class="ghost small" />`}
    <${IconButton} icon="close" label=${t("close")} class="ghost small" onClick=${onClose} />
  </header>`;
}

async function copyLink() {
  if (await copy(location.href)) toast({ state: "active", text: t("keys.link.copied") });
  else toast({ state: "failed", text: t("copy.failed"), more: t("copy.failed.more") });
}

/** What can be done with the key. */
function Acts({ of: k, ask, done }) {
  const [busy, setBusy] = useState("");
  const target = named(k.provider, [k]);
  const run = (what, act) => async () => {
    setBusy(what);
    try {
      await act();
      done();
    } catch (e) {
      toastError(e);
      if (e.status === 404) done();
    }
    setBusy("");
  };
  const rests = k.rests_until && Date.parse(k.rests_until) > Date.now();
  const ended = k.status === "expired";
  const more = [
    !ended && k.status !== "active" && { label: t("keys.disable"), icon: "pause", run: () => ask("disable", target) },
    rests && { label: t("keys.bulk.rest"), icon: "clock", run: run("rest", () => endRest(target)) },
    { label: t("keys.link"), icon: "copy", run: copyLink },
    { label: t("keys.bulk.export"), icon: "download", run: () => ask("export", target) },
  ];
  return html`
    <${Button} icon="verify" busy=${busy === "verify"} onClick=${run("verify", () => verifyOne(k.provider, k.id))}>${t("keys.verify")}<//>
    ${!ended && k.status !== "active" && html`<${Button} icon="power" busy=${busy === "enable"} onClick=${run("enable", () => enable(target))}>${t("keys.enable.now")}<//>`}
    ${!ended && k.status === "active" && html`<${Button} icon="pause" onClick=${() => ask("disable", target)}>${t("keys.disable")}<//>`}
    <${Menu} label=${t("keys.bulk.more")} icon="more" square class="ghost" items=${more} />`;
}

const Bones = () => html`<section aria-busy="true"><span class="bone w3"></span></section><section>${["w4", "w2", "w3", "w4"].map((w, i) => html`<p key=${i}><span class=${`bone ${w}`}></span></p>`)}</section>`;

/**
 * The panel of a key. turn is counted up when it is to be loaded anew; ask opens
 * a dialog, done follows every change, entered says that one came here by a click.
 */
export function Pane({ id, provider, turn, ask, done, onClose, entered }) {
  const ref = useRef(null);
  const over = useOver();
  const { data, error, stale, reload } = useLoad(async (signal) => {
    try {
      return await get(`/admin/api-keys/${encodeURIComponent(id)}`, { provider }, { signal });
    } catch (e) {
      if (e.status === 404) return { gone: true };
      throw e;
    }
  }, [provider, id, turn]);
  useAlone(ref, over);
  useEffect(() => {
    if (entered || over) ref.current.querySelector("h2").focus({ preventScroll: !over });
  }, [over]);
  useEffect(() => {
    ref.current.scrollTop = 0;
  }, [id]);
  useEffect(() => {
    const strike = (e) => {
      if (e.key === "Escape" && !e.defaultPrevented && free()) onClose();
    };
    addEventListener("keydown", strike);
    return () => removeEventListener("keydown", strike);
  }, [onClose]);
  const k = data && !data.gone && data.id === id ? data : undefined;
  const gone = data?.gone && !stale;
  return html`
    ${over && html`<div class="scrim" onClick=${onClose}></div>`}
    <aside ref=${ref} class="pane is-open" role=${over ? "dialog" : undefined} aria-modal=${over ? "true" : undefined} aria-labelledby="key-title">
      <${Head} key=${id} of=${k} id=${id} provider=${provider} onClose=${onClose} />
      ${gone ? html`<${Blank} icon="trash" title=${t("keys.gone")} acts=${html`<button type="button" class="btn" onClick=${onClose}>${t("close")}</button>`}>${t("keys.gone.more")}<//>`
        : k ? html`
          ${error && html`<section><p class="hint" role="status">${t("keys.old", { message: error.message })}</p></section>`}
          <${Why} of=${k}><${Acts} of=${k} ask=${ask} done=${done} /><//>
          <${Events} key=${id} of=${k} /><${Hours} of=${k} /><${Models} of=${k} /><${Facts} of=${k} />
          <section><${Button} class="danger" icon="trash" onClick=${() => ask("delete", named(k.provider, [k]))}>${t("keys.delete.one")}<//></section>`
          : error ? html`<${LoadError} error=${error} retry=${reload} title=${t("keys.pane.error")} />` : html`<${Bones} />`}
    </aside>`;
}
