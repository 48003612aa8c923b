// Saved searches: the menu that saves, opens and deletes them.
import { get, may, put as store, remove } from "./api.js";
import { confirmDialog, h, icon, problemView, toast } from "./dom.js";
import { fromRequest, isEmpty, toRequest } from "./query.js";

const path = (name) => `/v1/searches/${encodeURIComponent(name)}`;

/**
 * @param {HTMLElement} menu
 * @param {{state: import("./query.js").State, open: (state: import("./query.js").State) => void, close: () => void}} page
 */
export async function fill(menu, page) {
  menu.replaceChildren();
  let searches;
  let mine;
  try {
    [{ searches }, mine] = await Promise.all([get("/v1/searches"), may("reviewer")]);
  } catch (problem) {
    menu.replaceChildren(problemView(problem));
    return;
  }
  const rows = searches.map((one) => {
    const asked = one.query ? { title: "Open", onclick: () => page.open(fromRequest(one.query)) } : { title: one.why, disabled: true };
    const open = h("button", { type: "button", ...asked }, icon("star"), h("span.clip", null, one.name));
    const gone = async () => {
      page.close();
      if (!(await confirmDialog("Delete a saved search", `“${one.name}” will be gone for everybody who uses this library.`, "Delete"))) return;
      try {
        await remove(path(one.name));
        toast("Deleted");
      } catch (problem) {
        toast(problem.message, "bad");
      }
    };
    return h("li.saved-row", null, open, mine && h("button.ghost.small.square", { type: "button", "aria-label": `Delete ${one.name}`, onclick: gone }, icon("trash")));
  });
  menu.append(rows.length ? h("ul.saved-list", { aria: { label: "Saved searches" } }, rows) : h("h3", null, "Nothing is saved yet"));
  if (mine) menu.append(saving(page, searches.map((one) => one.name)));
}

function saving(page, names) {
  const nothing = isEmpty(page.state) || Boolean(page.state.upload);
  const name = h("input", { type: "text", maxlength: 100, pattern: "[^\\/]+", title: "A name without a slash", required: true, disabled: nothing, placeholder: page.state.texts[0] ?? "", autocomplete: "off" });
  const wrong = h("p.wrong", { role: "alert", hidden: true });
  const save = async (event) => {
    event.preventDefault();
    const told = name.value.trim();
    if (!told) return;
    if (names.includes(told) && wrong.hidden) {
      wrong.textContent = "There is one of this name; save again to replace it";
      wrong.hidden = false;
      return;
    }
    try {
      await store(path(told), { query: toRequest(page.state) });
      page.close();
      toast(`Saved as “${told}”`);
    } catch (problem) {
      wrong.textContent = problem.message;
      wrong.hidden = false;
    }
  };
  const why = page.state.upload ? "A search by a file cannot be saved" : "Search for something, then save it here";
  return h(
    "form",
    { onsubmit: save },
    h("label.field", null, "Save this search as", name),
    wrong,
    nothing ? h("p.quiet.small", null, why) : h("div.row.end", null, h("button.small.primary", { type: "submit" }, "Save")),
  );
}
