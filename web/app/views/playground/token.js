// The client token that requests go with. The server keeps only hashes of tokens,
// so that it must be given, or made.
import { html, useState } from "../../lib/preact.js";
import { post } from "../../lib/api.js";
import { Hour } from "../../parts/time.js";
import { rich, t } from "../../lib/words.js";
import { Button, Field, IconButton } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { toastError } from "../../parts/toast.js";
import { token, tokenEnds } from "./draft.js";

const lasts = 3600; // seconds that a token made here is good

export function TokenField({ error, onChange }) {
  const [shown, setShown] = useState(false);
  const [busy, setBusy] = useState(false);
  const set = (text, ends = null) => {
    token.value = text;
    tokenEnds.value = ends;
    onChange();
  };
  const make = async () => {
    setBusy(true);
    try {
      const made = await post("/admin/tokens", { name: "playground", expiresIn: lasts, provider: "all" });
      set(made.token, made.expiresAt);
      setShown(false);
    } catch (e) {
      toastError(e);
    }
    setBusy(false);
  };
  const tokens = (text) => html`<a href="/dashboard/tokens">${text}</a>`;
  const help = token.value === ""
    ? t("playground.token.help")
    : tokenEnds.value ? rich("playground.token.made", { until: html`<${Hour} at=${tokenEnds.value} />`, tokens }) : t("playground.token.kept");
  return html`<div class="token-row"><${Field} label=${t("playground.token")} error=${error} help=${help} control=${(a) => html`<div class="with-icon"><${Icon} name="lock" />
      <input ...${a} class="input" type=${shown ? "text" : "password"} placeholder="sk-…" autocomplete="off" autocapitalize="off" spellcheck=${false} value=${token.value} onInput=${(e) => set(e.target.value)} />
      <${IconButton} icon=${shown ? "eye-off" : "eye"} label=${shown ? t("playground.token.hide") : t("playground.token.show")} aria-pressed=${String(shown)} class="ghost small" onClick=${() => setShown(!shown)} />
    </div>`} />
    ${token.value.trim() === "" && html`<${Button} icon="plus" busy=${busy} onClick=${make}>${t("playground.token.make")}<//>`}
  </div>`;
}
