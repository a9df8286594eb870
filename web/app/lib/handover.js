// What one page hands to the next within the same document. It is kept in memory
// alone: never in an address, never in storage.
import { effect, signal } from "./preact.js";
import { session } from "./api.js";

/** A token that was just made, for the playground to try; "" where there is none. */
export const freshToken = signal("");

effect(() => {
  if (session.value === null) freshToken.value = "";
});
