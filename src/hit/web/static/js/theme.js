// A classic script, run before the page is drawn, so that the colours do not flash. "auto" follows the system.
(() => {
  const ORDER = ["auto", "light", "dark"];
  const TOLD = { auto: "as the system's", light: "light", dark: "dark" };
  const ICON = { auto: "contrast", light: "sun", dark: "moon" };
  const root = document.documentElement;

  function kept() {
    try {
      const theme = localStorage.getItem("hit.theme");
      return ORDER.includes(theme) ? theme : "auto";
    } catch {
      return "auto"; // storage may be forbidden
    }
  }

  function apply(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (!button) return;
    button.setAttribute("aria-label", `Colours: ${TOLD[theme]}`);
    button.title = `Colours: ${TOLD[theme]}`;
    button.querySelector("use").setAttribute("href", `/static/icons.svg#${ICON[theme]}`);
  }

  apply(kept());
  document.addEventListener("DOMContentLoaded", () => {
    apply(kept());
    document.getElementById("theme")?.addEventListener("click", () => {
      const next = ORDER[(ORDER.indexOf(kept()) + 1) % ORDER.length];
      try {
        localStorage.setItem("hit.theme", next);
      } catch {
        // then it holds for this page only
      }
      apply(next);
    });
  });
})();
