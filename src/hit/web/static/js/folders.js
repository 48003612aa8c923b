// Choosing a folder on the server whose videos are added.
import { get, post, withQuery } from "./api.js";
import { h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { plural } from "./format.js";
import { take } from "./jobs.js";

/** The button that opens the dialog. */
export function folderButton() {
  return h("button", { type: "button", onclick: open }, icon("folder"), "Add a folder");
}

function open() {
  const room = h("div.folders");
  const dialog = openDialog("Add a folder of the server", room);
  start(room, dialog);
}

async function start(room, dialog) {
  put(room, h("p.quiet", null, "Looking"));
  try {
    const roots = await get("/v1/roots");
    if (!roots.length) return put(room, stateView("folder", "No folders are open to this page", "Name some in the library's serve.toml, as roots = [\"/videos\"], or upload files instead."));
    if (roots.length === 1) return show(room, dialog, roots, roots[0], "");
    return choose(room, dialog, roots);
  } catch (problem) {
    return put(room, problemView(problem, () => start(room, dialog)));
  }
}

function choose(room, dialog, roots) {
  put(room, h("ul.folder-list", null, roots.map((root) => h("li", null, entry(root.path, null, () => show(room, dialog, roots, root, ""))))));
}

function entry(name, videos, onclick) {
  return h("button.folder", { type: "button", onclick }, icon("folder"), h("span.grow.clip", null, name), videos !== null && h("span.quiet.small", null, videos ? plural(videos, "video") : ""), icon("chevron"));
}

async function show(room, dialog, roots, root, path) {
  room.setAttribute("aria-busy", "true");
  try {
    const here = await get(withQuery(`/v1/roots/${root.number}/folders`, { path }));
    const below = (name) => (path ? `${path}/${name}` : name);
    const parts = path ? path.split("/") : [];
    const crumb = (label, target) => h("li", null, h("button.ghost.small", { type: "button", "aria-current": target === path ? "true" : null, onclick: () => show(room, dialog, roots, root, target) }, label));
    const add = h("button.primary", { type: "button", onclick: () => index(here.path, dialog, add) }, "Add this folder");
    const told = here.videos ? `${plural(here.videos, "video")} right here` : "no video right here";
    put(
      room,
      h(
        "nav",
        { "aria-label": "Where you are" },
        h("ol.crumbs", null, roots.length > 1 && h("li", null, h("button.ghost.small", { type: "button", onclick: () => choose(room, dialog, roots) }, "All")), crumb(root.path, ""), parts.map((name, i) => crumb(name, parts.slice(0, i + 1).join("/")))),
      ),
      h("ul.folder-list", null, here.folders.map((one) => h("li", null, entry(one.name, one.videos, () => show(room, dialog, roots, root, below(one.name)))))),
      !here.folders.length && h("p.quiet.small", null, "No folders in it."),
      h("div.row.between", null, h("span.quiet.small", null, `${told}; folders in it count too`), add),
    );
    add.focus();
  } catch (problem) {
    put(room, problemView(problem, () => show(room, dialog, roots, root, path)));
  }
  room.removeAttribute("aria-busy");
}

async function index(path, dialog, button) {
  button.disabled = true;
  try {
    take(await post("/v1/videos", { sources: [path] }));
    dialog.close();
    toast("The folder is being looked through");
  } catch (problem) {
    button.disabled = false;
    toast(problem.message, "bad");
  }
}
