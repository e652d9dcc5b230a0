// Starts the page. Trunk could do so by itself, but with an inline script, which a
// strict content security policy refuses, and without a word when it fails.

// Before the first paint, so that a remembered theme does not flash.
try {
  const theme = localStorage.getItem("meshground.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; then the system's theme it is.
}

// Not in the page itself: without JavaScript nothing is being loaded.
const starting = document.getElementById("starting-text");
if (starting) starting.textContent = "Loading the playground…";

try {
  const { default: init } = await import("/meshground-web.js");
  await init({ module_or_path: "/meshground-web_bg.wasm" });
} catch (error) {
  if (!starting) throw error;
  document.getElementById("starting").setAttribute("role", "alert");
  const reason = error instanceof Error ? error.message : String(error);
  starting.textContent =
    typeof WebAssembly === "object"
      ? `The playground could not be loaded (${reason}). Reload the page; if that does not help, the server may have gone.`
      : "This browser has no WebAssembly, which the playground needs. Any current browser has it.";
}
