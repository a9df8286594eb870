// What is asked before something is done to keys.
import { html, useEffect, useState } from "../../lib/preact.js";
import { hour } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { rich, t } from "../../lib/words.js";
import { Confirm, Dialog, ErrorNote } from "../../parts/dialog.js";
import { Button, Field, Seg, providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { stateName } from "../../parts/state.js";
import { countNow, disable, enable, remove, verify } from "./acts.js";

/**
 * How many keys a filter chooses by now, as it may have changed since it was
 * shown: { count, ready, error, guard }. guard makes a call with that count; where
 * the server says that it is another one, it counts anew and says so.
 */
function useCount(target, always = false) {
  const [count, setCount] = useState(target.count);
  const [ready, setReady] = useState(!target.filter && !always);
  const [error, setError] = useState(null);
  const look = () => countNow(target).then((n) => {
    setCount(n);
    setReady(true);
    return n;
  });
  useEffect(() => {
    if (!ready) look().catch(setError);
  }, []);
  const guard = (act) => async () => {
    try {
      await act({ ...target, count });
    } catch (e) {
      if (e.status !== 409 || !target.filter) throw e;
      const n = await look();
      throw n === count ? e : new Error(t("keys.moved", { n }));
    }
  };
  return { count, ready, error, guard };
}

/** Which keys they are: the key itself, or what all of them have in common. */
function Which({ target }) {
  const { filter, rows, provider } = target;
  if (!filter) {
    const first = rows.slice(0, 5);
    return html`<ul class="which">${first.map((r) => html`<li key=${r.id}><span class="mono">${r.api_key}</span> <bdi class="muted">${r.username}</bdi></li>`)}
      ${rows.length > first.length && html`<li class="muted">${t("keys.which.more", { n: rows.length - first.length })}</li>`}</ul>`;
  }
  if (filter.status === "all") return html`<p>${rich("keys.which.all", { provider: providerName(provider) })}</p>`;
  return html`<p>${t("keys.which.filter", { provider: providerName(provider) })}</p><p class="chips">
    ${filter.status && html`<span class="tag">${stateName(filter.status)}</span>`}
    ${filter.category && html`<span class="tag">${t("keys.family")}: ${filter.category}</span>`}
    ${filter.reason && html`<span class="tag">${t("keys.reason")}: ${reason(filter.reason)}</span>`}
    ${filter.search && html`<span class="tag"><bdi>“${filter.search}”</bdi></span>`}</p>`;
}

export function AskDelete({ target, done, onClose }) {
  const { count, ready, error, guard } = useCount(target, true);
  const act = guard(async (keys) => {
    await remove(keys);
    done();
  });
  return html`<${Confirm} title=${t("keys.delete.title", { n: count })} label=${t("keys.delete.act", { n: count })} count=${count} ready=${ready && count > 0} act=${act} onClose=${onClose}>
    <${Which} target=${target} /><p>${t("keys.delete.more", { n: count })}</p>
    ${ready && count < target.count && !target.filter && html`<p class="muted">${t("keys.done.missing", { n: target.count - count })}</p>`}
    ${error && html`<${ErrorNote} error=${error} />`}
  <//>`;
}

export function AskEnable({ target, done, onClose }) {
  const { count, ready, error, guard } = useCount(target);
  const act = guard(async (keys) => {
    await enable(keys);
    done();
  });
  return html`<${Confirm} title=${t("keys.enable.title", { n: count })} label=${t("keys.enable.act", { n: count })} count=${count} ready=${ready && count > 0} act=${act} onClose=${onClose} destroys=${false}>
    <${Which} target=${target} /><p>${t("keys.enable.more")}</p>${error && html`<${ErrorNote} error=${error} />`}
  <//>`;
}

export function AskVerify({ target, begun, onClose }) {
  const { count, ready, error, guard } = useCount(target);
  const act = guard(async (keys) => begun(await verify(keys)));
  return html`<${Confirm} title=${t("keys.verify.title", { n: count })} label=${t("keys.verify.act", { n: count })} count=${count} ready=${ready && count > 0} act=${act} onClose=${onClose} destroys=${false}>
    <${Which} target=${target} /><p>${t("keys.verify.more")}</p>${error && html`<${ErrorNote} error=${error} />`}
  <//>`;
}

const units = { m: 60, h: 3600, d: 86400 };
const most = 36500 * 86400; // what the API takes

/** For how long keys are to be out. */
export function AskDisable({ target, done, onClose }) {
  const { count, ready, error, guard } = useCount(target);
  const [span, setSpan] = useState("3600");
  const [own, setOwn] = useState({ n: "12", unit: "h" });
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState(null);
  const seconds = span === "own" ? Math.round(Number(own.n.replace(",", ".")) * units[own.unit]) : Number(span);
  const wrong = span === "own" && !(seconds >= 1 && seconds <= most);
  const run = async (e) => {
    e.preventDefault();
    if (wrong || busy || !ready) return;
    setBusy(true);
    setFailed(null);
    try {
      await guard((keys) => disable(keys, seconds, done))();
      done();
      onClose();
    } catch (e) {
      setBusy(false);
      setFailed(e);
    }
  };
  const footer = html`<button type="button" class="btn" disabled=${busy} onClick=${onClose}>${t("cancel")}</button>
    <${Button} type="submit" form="keys-disable" class="primary" busy=${busy} disabled=${wrong || !ready || count === 0}>${t("keys.disable.act", { n: count })}<//>`;
  return html`<${Dialog} title=${t("keys.disable.title", { n: count })} onClose=${onClose} busy=${busy} footer=${footer}>
    <form id="keys-disable" class="form" onSubmit=${run}>
      ${(target.filter || target.count <= 5) && html`<div><${Which} target=${target} /></div>`}
      <div class="field"><span class="label">${t("keys.disable.long")}</span>
        <${Seg} label=${t("keys.disable.long")} value=${span} onChange=${setSpan} options=${[
          ["3600", t("keys.disable.hour")], ["86400", t("keys.disable.day")], ["604800", t("keys.disable.week")], ["own", t("keys.disable.own")], ["0", t("keys.disable.open")],
        ]} /></div>
      ${span === "own" && html`<${Field} label=${t("keys.disable.own.long")} error=${wrong ? t("keys.disable.own.wrong") : ""} control=${(a) => html`<div class="btn-row">
        <input ...${a} class="input short" inputmode="decimal" value=${own.n} onInput=${(e) => setOwn({ ...own, n: e.target.value })} />
        <select class="select short" aria-label=${t("keys.disable.own.unit")} onChange=${(e) => setOwn({ ...own, unit: e.target.value })}>
          ${["m", "h", "d"].map((u) => html`<option key=${u} value=${u} selected=${u === own.unit}>${t(`keys.disable.unit.${u}`)}</option>`)}
        </select></div>`} />`}
      <p class="hint" aria-live="polite">${wrong ? "" : seconds > 0 ? t("keys.disable.until", { n: count, at: hour(new Date(Date.now() + 1000 * seconds)) }) : t("keys.disable.stay", { n: count })}</p>
      ${(failed ?? error) && html`<${ErrorNote} error=${failed ?? error} />`}
    </form>
  <//>`;
} // words: keys.disable.unit.*

/** That whole keys are secret, where somebody asks for them. */
export const WholeNote = () => html`<div class="note-box s-resting"><${Icon} name="lock" /><div>${t("keys.whole.note")}</div></div>`;
