// One key, added by hand.
import { html, useState } from "../../lib/preact.js";
import { post } from "../../lib/api.js";
import { setQuery } from "../../lib/router.js";
import { rich, t } from "../../lib/words.js";
import { Dialog, ErrorNote } from "../../parts/dialog.js";
import { Button, Field, Seg, providerName } from "../../parts/form.js";
import { toast } from "../../parts/toast.js";
import { verifyOne } from "./acts.js";

const day = 86400;
const most = 36500; // days that the API takes

/** Asks for a key, its account and how long it is to live. done is called when it was added. */
export function AddOne({ provider, done, onClose }) {
  const [key, setKey] = useState("");
  const [username, setUsername] = useState("");
  const [life, setLife] = useState("0");
  const [days, setDays] = useState("14");
  const [check, setCheck] = useState(true);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const [empty, setEmpty] = useState(false);
  const ttl = life === "own" ? Math.round(Number(days.replace(",", ".")) * day) : Number(life);
  const wrong = life === "own" && !(ttl >= 1 && ttl <= most * day);
  const run = async (e) => {
    e.preventDefault();
    if (busy || wrong) return;
    setEmpty(key.trim() === "");
    if (key.trim() === "") return;
    setBusy(true);
    setError(null);
    try {
      const { id, message } = await post("/admin/api-keys", { api_key: key.trim(), username: username.trim() || undefined, ttl: ttl || undefined, provider });
      const show = { label: t("keys.show"), run: () => setQuery({ key: id }) };
      const added = message === "Added";
      toast({ state: added ? "active" : "info", text: t(added ? "keys.added" : "keys.there"), more: added ? "" : t("keys.there.more"), act: show });
      if (added && check) await verifyOne(provider, id).catch(() => {}); // its panel tells how it stands
      done();
      onClose();
    } catch (e) {
      setBusy(false);
      setError(e);
    }
  };
  const footer = html`<button type="button" class="btn" disabled=${busy} onClick=${onClose}>${t("cancel")}</button>
    <${Button} type="submit" form="keys-add" class="primary" busy=${busy} disabled=${wrong}>${t("keys.add.act")}<//>`;
  return html`<${Dialog} title=${t("keys.add.title", { provider: providerName(provider) })} onClose=${onClose} busy=${busy} footer=${footer}>
    <form id="keys-add" class="form" onSubmit=${run} autocomplete="off">
      <${Field} label=${t("keys.add.key")} help=${rich("keys.add.key.help")} error=${empty ? t("keys.add.key.empty") : ""}
        control=${(a) => html`<input ...${a} class="input mono" data-first autocomplete="off" autocapitalize="off" spellcheck=${false} value=${key} onInput=${(e) => setKey(e.target.value)} />`} />
      <${Field} label=${t("keys.add.account")} help=${t("keys.add.account.help")}
        control=${(a) => html`<input ...${a} class="input" autocomplete="off" autocapitalize="off" spellcheck=${false} dir="auto" maxlength="320" value=${username} onInput=${(e) => setUsername(e.target.value)} />`} />
      <div class="field"><span class="label">${t("keys.add.life")}</span>
        <${Seg} label=${t("keys.add.life")} value=${life} onChange=${setLife} options=${[
          ["0", t("keys.add.life.ever")], [String(day), t("keys.disable.day")], [String(7 * day), t("keys.disable.week")], [String(30 * day), t("keys.add.life.month")], ["own", t("keys.disable.own")],
        ]} /></div>
      ${life === "own" && html`<${Field} label=${t("keys.add.life.days")} error=${wrong ? t("keys.add.life.wrong") : ""}
        control=${(a) => html`<input ...${a} class="input short" inputmode="decimal" value=${days} onInput=${(e) => setDays(e.target.value)} />`} />`}
      <label class="check"><input type="checkbox" checked=${check} onChange=${(e) => setCheck(e.target.checked)} /><span>${t("keys.add.check")}<small>${t("keys.add.check.more")}</small></span></label>
      ${error && html`<${ErrorNote} error=${error} />`}
    </form>
  <//>`;
}
