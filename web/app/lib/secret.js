// What is pasted into a search may be a whole key or token. It is looked for by
// its public id, which is made here, so that the secret itself is sent nowhere:
// proxies write down the addresses of calls.

/** Whether a text is the public id of a key or a token. */
export const isId = (text) => /^[0-9a-f]{16}$/i.test(text);

/**
 * Whether a text looks like a whole secret: those of OpenRouter and the tokens of
 * this program begin with sk-, those of Ollama with 32 digits and a dot.
 */
export const looksSecret = (text) => /^sk-\S|^[0-9a-f]{32}\.\S/i.test(text);

/** Whether ids can be made: browsers do so over HTTPS and on this machine only. */
export const makesIds = globalThis.crypto?.subtle !== undefined;

/** The public id of a secret: the first eight bytes of its SHA-256. */
export async function idOf(secret) {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));
  return [...sum.slice(0, 8)].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/** What a search is sent as: a secret as its id, everything else as it is. */
export const asSent = async (text) => (makesIds && looksSecret(text) ? idOf(text) : text);
