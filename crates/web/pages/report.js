// Runs a page's work, shows its result, and sends it to the server that drives the page in tests.
// The report is JSON: what the work returns, or {"error": ...} if it throws or if an uncaught error comes first.
export async function report(work) {
  const uncaught = new Promise((_, reject) => {
    addEventListener("error", (event) => reject(event.error ?? event.message));
    addEventListener("unhandledrejection", (event) => reject(event.reason));
  });
  let result;
  try {
    result = await Promise.race([work(), uncaught]);
  } catch (error) {
    result = { error: String(error?.stack ?? error) };
  }
  // wasm hands 64-bit integers over as BigInt, which JSON does not know.
  const text = JSON.stringify(result, (_, value) => (typeof value === "bigint" ? Number(value) : value), 2);
  document.body.append(Object.assign(document.createElement("pre"), { textContent: text }));
  // A page served by anything else has nobody to report to.
  await fetch("/report", { method: "POST", body: text }).catch(() => {});
}
