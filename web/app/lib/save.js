// Hands something to the visitor as a file.

/** Saves a Blob under a name. */
export function save(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60e3); // by then it is read
}
