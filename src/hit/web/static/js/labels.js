// The sets of labels, and new ones: written, or read from a file.
import { may } from "./api.js";
import { byId, h, icon, problemView, put, stateView } from "./dom.js";
import { takeDrops } from "./drop.js";
import { ago, count, moment, plural } from "./format.js";
import { setPage, stateBadge } from "./labeldata.js";
import { fileButton, importDialog, newSetDialog, sets } from "./labelform.js";

let known = [];
let mine = false;

function card(one) {
  const active = one.active_version;
  const told = active === null ? "not in use" : active === one.version ? `version ${one.version}` : `version ${active} is in use, ${one.version} is a draft`;
  return h(
    "li.panel.set",
    { data: { set: one.name } },
    h("div.row.between", null, stateBadge(active === null ? one.state : "active"), h("time.quiet.small", { datetime: one.created_at, title: moment(one.created_at) }, ago(one.created_at))),
    h("h2", null, h("a", { href: setPage(one.name) }, one.name)),
    h("p.set-figures", null, h("strong.numbers", null, count(one.tagged)), ` ${one.tagged === 1 ? "tag" : "tags"} by ${plural(one.labels, "label")}`),
    h("p.quiet.small", null, [told, one.by && `by ${one.by}`].filter(Boolean).join(" · ")),
  );
}

const writeNew = () => h("button.primary", { type: "button", onclick: () => newSetDialog(known.map((one) => one.name)) }, icon("plus"), "New set");
const read = (file) => importDialog(file, null, (answer) => location.assign(setPage(answer.name)));

function empty() {
  const text = mine ? "Write one, or drop a file of labels (csv or TOML) onto this page." : "A senior reviewer or an administrator can write one.";
  return stateView("tag", "No labels yet", text, mine && writeNew());
}

async function load() {
  const room = byId("sets");
  put(room, h("ul.sets", { "aria-hidden": "true" }, Array.from({ length: 3 }, () => h("li.skeleton.tall"))));
  try {
    [known, mine] = await Promise.all([sets(), may("senior")]);
    put(room, known.length ? h("ul.sets", null, known.map(card)) : empty());
    byId("add").hidden = !mine;
    put(byId("add"), mine && [fileButton(read), known.length > 0 && writeNew()]);
  } catch (problem) {
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

const veil = h("div.veil", { hidden: true }, h("div", null, icon("upload"), h("strong", null, "Drop a file of labels: csv or TOML")));
document.body.append(veil);
takeDrops(veil, (transfer) => mine && transfer.files.length && read(transfer.files[0]));
load();
