// An image or a clip as a query: picked, pasted or dropped.
import { byId, toast } from "./dom.js";
import { takeDrops } from "./drop.js";

const KINDS = /^(image|video)\//;
const MOST = 200_000_000; // bytes; the server has its own limits

/** @param {(file: File) => void} take */
export function takeFiles(take) {
  const accept = (files) => {
    const file = [...(files ?? [])].find((one) => KINDS.test(one.type) || /\.(mkv|mov|avi|webm|mp4|ts)$/i.test(one.name));
    if (!file) return false;
    if (file.size > MOST) toast("The file is too large to search by: cut a short clip of it", "bad");
    else take(file);
    return true;
  };
  const input = /** @type {HTMLInputElement} */ (byId("file"));
  byId("pick").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    accept(input.files);
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    if (accept(event.clipboardData?.files)) event.preventDefault();
  });
  takeDrops(byId("drop"), (transfer) => {
    if (!accept(transfer.files)) toast("Drop an image or a video", "bad");
  });
}

const pictures = new WeakMap();

/** A small picture of a file, as a blob's address, or null where it is none. @param {File} file */
export function pictureOf(file) {
  if (!file.type.startsWith("image/")) return null;
  if (!pictures.has(file)) pictures.set(file, URL.createObjectURL(file));
  return pictures.get(file);
}
