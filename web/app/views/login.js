// The login. It stands in place of whatever page was asked for, so that one is
// there afterwards.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { logIn, parting } from "../lib/api.js";
import { span } from "../lib/format.js";
import { rich, t } from "../lib/words.js";
import { Button, Field, IconButton } from "../parts/form.js";
import { Icon, Mark } from "../parts/icon.js";
import { LanguageButton, ThemeButton, brand } from "../parts/shell.js";

/** What is said of a failed try. */
function told(error) {
  if (error.status === 401) return t("login.wrong");
  if (error.status === 429) return t("login.often", { span: span(error.retryAfter || 30) });
  return error.message;
}

export default function Login() {
  const [token, setToken] = useState("");
  const [shown, setShown] = useState(false);
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const field = useRef(null);
  const input = () => field.current?.querySelector("input:not([hidden])");
  useEffect(() => input()?.focus(), []);
  const enter = async (e) => {
    e.preventDefault();
    if (busy) return;
    if (token.trim() === "") {
      setError(t("login.empty"));
      input()?.focus();
      return;
    }
    setBusy(true);
    setError("");
    try {
      await logIn(token.trim(), remember);
    } catch (e) {
      setError(told(e));
      setBusy(false);
      input()?.select();
    }
  };
  return html`<div class="login">
    <main id="content">
      <div class="brand"><${Mark} /><span>${brand}</span></div>
      ${parting.value === "ended" && html`<div class="note-box s-info" role="status"><${Icon} name="info" /><div>${t("login.ended")}</div></div>`}
      <form class="form" ref=${field} onSubmit=${enter} novalidate>
        <h1>${t("login.title")}</h1>
        <input type="text" name="username" value="admin" autocomplete="username" hidden />
        <${Field} label=${t("login.token")} error=${error} control=${(a) => html`<div class="with-icon"><${Icon} name="lock" />
          <input ...${a} class="input" type=${shown ? "text" : "password"} autocomplete="current-password" autocapitalize="off" spellcheck=${false} value=${token} onInput=${(e) => setToken(e.target.value)} />
          <${IconButton} icon=${shown ? "eye-off" : "eye"} label=${shown ? t("login.hide") : t("login.show")} aria-pressed=${String(shown)} class="ghost small" onClick=${() => setShown(!shown)} />
        </div>`} />
        <label class="check"><input type="checkbox" checked=${remember} onChange=${(e) => setRemember(e.target.checked)} /><span>${t("login.remember")}</span></label>
        <${Button} type="submit" class="primary block" busy=${busy}>${t("login.enter")}<//>
        <p class="hint">${rich("login.help")}</p>
      </form>
    </main>
    <footer><a href="/stats">${t("nav.stats")}</a><a href="/api-docs">${t("nav.docs")}</a><${ThemeButton} /><${LanguageButton} /></footer>
  </div>`;
}
