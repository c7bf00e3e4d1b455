// Runs before the first paint, from a file of its own because the page allows no inline script.
(function () {
  var choice = "system";
  try {
    choice = localStorage.getItem("droidft.theme") || "system";
  } catch (error) {
    // Storage may be switched off; the system's theme will do.
  }
  var dark = choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
