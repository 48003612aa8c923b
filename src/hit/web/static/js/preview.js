// A moment that plays over the page.
import { h, openDialog } from "./dom.js";
import { time } from "./format.js";
import { player } from "./player.js";

/**
 * @param {{id: string, at: number, title: string, start: number, end: number, href: string}} moment href: the video's page
 * @param {HTMLElement} from what has the focus again when it is closed
 */
export function preview({ id, at, title, start, end, href }, from) {
  from.focus();
  const shown = player({ id, at, autoplay: true });
  const link = h("a.button.primary", { href }, "Open the video");
  const content = h("div.preview", null, shown.element, h("div.row.between", null, h("span.quiet.numbers", null, `${time(start)} to ${time(end)}`), link));
  const dialog = openDialog(title, content, { wide: true, onclose: shown.close });
  shown.video.focus();
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target !== dialog) return;
    event.preventDefault();
    dialog.close();
  });
}

/** The same for a segment as the API has it. */
export function previewSegment({ video_id: id, title, start, end, seek, page_url: href }, from) {
  preview({ id, at: seek, title, start, end, href }, from);
}
