// Files that are dragged over a page.

/**
 * Show `veil` while files are over the page, and take what is dropped anywhere on it.
 * @param {HTMLElement} veil
 * @param {(transfer: DataTransfer) => void} take
 */
export function takeDrops(veil, take) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true; // they have left the window
  });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    take(event.dataTransfer);
  });
}
