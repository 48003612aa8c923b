// The block bank: clips that are known to be bad.
import { get, may, post, remove } from "./api.js";
import { announce, byId, confirmDialog, debounce, h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { ago, moment, plural, seconds, time } from "./format.js";

function row(one) {
  return h(
    "tr",
    { data: { clip: one.id } },
    h("td.video-cell", null, h("strong", null, one.title), h("span.quiet.small", null, ` ${plural(one.frames, "picture")}`), one.note && h("p.quiet.small", null, one.note)),
    h("td", null, h("time.quiet.small", { datetime: one.added_at, title: moment(one.added_at) }, ago(one.added_at)), one.by && h("span.quiet.small", null, ` by ${one.by}`)),
    h("td.actions", null, h("button.small.ghost.square", { type: "button", "aria-label": `Remove ${one.title}`, title: "Remove", onclick: () => forget(one) }, icon("trash"))),
  );
}

async function forget(one) {
  if (!(await confirmDialog(`Take “${one.title}” out of the bank?`, "What looks like it is not caught any more. Verdicts that were made stay until their videos are judged again.", "Take out"))) return;
  try {
    await remove(`/v1/bank/${one.id}`);
    toast("It is out of the bank");
    load();
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

/** Find a video by its title. @param {(video: any) => void} take */
function finder(take) {
  const found = h("ul.found", { aria: { label: "Videos of this title" } });
  const box = h("input", { type: "search", placeholder: "Title or path", autocomplete: "off", maxlength: 200 });
  const look = debounce(async () => {
    const { videos } = await get(`/v1/videos?status=ready&limit=6&q=${encodeURIComponent(box.value)}`).catch(() => ({ videos: [] }));
    put(found, videos.map((one) => h("li", null, h("button.small", { type: "button", onclick: () => take(one) }, one.title))));
    announce(plural(videos.length, "video"));
  }, 200);
  box.addEventListener("input", look);
  look();
  return { box, found };
}

function ask(video = null, from = null, to = null) {
  let chosen = video;
  const name = h("p", null);
  const find = finder((one) => choose(one));
  const choose = (one) => {
    chosen = one;
    put(name, one && ["Chosen: ", h("strong", null, one.title), one.duration ? `, ${time(one.duration)}` : ""]);
    save.disabled = !one;
  };
  const note = h("input", { type: "text", maxlength: 2000, placeholder: "why it is in the bank", autocomplete: "off" });
  const start = h("input", { type: "text", inputmode: "decimal", placeholder: "its start", value: from ?? "" });
  const end = h("input", { type: "text", inputmode: "decimal", placeholder: "its end", value: to ?? "" });
  const wrong = h("p.wrong", { role: "alert" });
  const save = h("button.primary", { type: "submit", disabled: true }, "Add to the bank");
  const add = async (event) => {
    event.preventDefault();
    const stretch = Object.fromEntries([["start", start], ["end", end]].filter(([, box]) => box.value.trim()).map(([key, box]) => [key, seconds(box.value)]));
    if (Object.values(stretch).some(Number.isNaN)) {
      wrong.textContent = "Give times such as 0:05 or 1:02.5, or leave them out";
      return;
    }
    save.disabled = true;
    try {
      await post("/v1/bank", { video_id: chosen.id, note: note.value.trim(), ...stretch });
      dialog.close();
      toast("It is in the bank");
      load();
    } catch (problem) {
      wrong.textContent = problem.message;
      save.disabled = false;
    }
  };
  const form = h("form.stack", { onsubmit: add }, h("label.field", null, "Video", find.box), find.found, name, h("div.pair", null, h("label.field", null, "From", start), h("label.field", null, "To", end)), h("label.field", null, "Note", note), wrong, h("div.row.end", null, save));
  const dialog = openDialog("Add a clip to the bank", form);
  choose(chosen);
  find.box.focus();
}

async function load() {
  const room = byId("list");
  try {
    const { bank } = await get("/v1/bank");
    const head = ["Clip", "Added", "Actions"].map((name) => h("th", { scope: "col" }, name === "Actions" ? h("span.hidden", null, name) : name));
    put(room, bank.length ? h("table.table.cases-table", null, h("thead", null, h("tr", null, head)), h("tbody", null, bank.map(row))) : stateView("info", "The bank is empty", "Add a video of the library, or a stretch of one. It stays known when the video itself is removed."));
  } catch (problem) {
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

async function begin() {
  if (!(await may("admin"))) {
    put(byId("list"), stateView("info", "For administrators", "Only they see and change what is in the bank."));
    byId("list").setAttribute("aria-busy", "false");
    return;
  }
  put(byId("add"), h("button.primary", { type: "button", onclick: () => ask() }, icon("plus"), "Add a clip"));
  await load();
  const given = new URLSearchParams(location.search);
  if (given.get("video")) ask(await get(`/v1/videos/${encodeURIComponent(given.get("video"))}`), given.get("start"), given.get("end"));
}

begin().catch((problem) => put(byId("list"), problemView(problem, () => location.reload())));
