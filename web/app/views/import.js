import { html } from "../lib/preact.js";
import { t } from "../lib/words.js";
import { PageHead } from "../parts/shell.js";

export default function View() {
  return html`<${PageHead} title=${t("nav.import")} />`;
}
