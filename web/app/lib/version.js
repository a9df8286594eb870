// Whether the server has other pages by now than those that this one is of: the
// program was renewed behind an open page.

/** The value of a <meta> of this page, "" where there is none. */
export const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

/** Asks for the page again and says whether what it loads is something else. Where that cannot be told, it is not. */
export async function renewed() {
  try {
    const response = await fetch(location.pathname === "/stats" ? "/stats" : "/dashboard", { headers: { Accept: "text/html" }, cache: "no-cache", credentials: "omit" });
    const found = response.ok && /<meta name="assets" content="([^"]+)">/.exec(await response.text());
    return Boolean(found) && found[1] !== meta("assets");
  } catch {
    return false;
  }
}
