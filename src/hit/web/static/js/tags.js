// The tags of a video: everybody sees them, reviewers give and take them.
import { get, may, post, withQuery } from "./api.js";
import { announce, h, icon, put } from "./dom.js";
import { showLabelTags, taggedBy } from "./labeltags.js";
import { quoted } from "./query.js";

/** @param {HTMLElement} room @param {any} video @param {(seconds: number) => void} seek */
export async function showTags(room, video, seek) {
  const [mine, labelled] = await Promise.all([may("reviewer"), taggedBy(video.id).catch(() => [])]);
  const byLabels = new Set(labelled.map((one) => one.label));
  let tags = video.tags;
  const wrong = h("p.wrong", { role: "alert", hidden: true });

  async function change(what, said) {
    wrong.hidden = true;
    try {
      tags = (await post(`/v1/videos/${encodeURIComponent(video.id)}/tags`, what)).tags;
      draw();
      announce(said);
    } catch (problem) {
      wrong.textContent = problem.message;
      wrong.hidden = false;
    }
  }

  const off = (name, kind = "") => mine && h("button", { type: "button", class: kind, "aria-label": `Take off the tag ${name}`, title: "Take off", onclick: () => change({ remove: [name] }, `Took off ${name}`) }, icon("close"));
  const chip = (name) =>
    h(
      "span.chip",
      null,
      icon("tag"),
      h("a.clip", { href: withQuery("/", { f: `tag=${quoted(name)}` }), title: "Videos of this tag" }, name),
      off(name),
    );

  const input = h("input", { type: "text", maxlength: 200, placeholder: "Add a tag", "aria-label": "Add a tag", list: "all-tags", autocomplete: "off" });
  const all = h("datalist", { id: "all-tags" });
  input.addEventListener("focus", async () => {
    const names = Object.keys(await get("/v1/tags").catch(() => ({})));
    put(all, names.filter((name) => !tags.includes(name)).map((name) => h("option", { value: name })));
  });
  const add = async (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) return;
    input.value = "";
    await change({ add: [name] }, `Added ${name}`);
    input.focus();
  };
  const labels = h("div", { id: "label-tags" });
  const chips = h("div.chips", { role: "group", "aria-label": "Tags" });
  const draw = () => {
    const own = tags.filter((name) => !byLabels.has(name));
    put(chips, own.length ? own.map(chip) : h("span.quiet.small", null, labelled.length ? "None by people" : "None yet"));
    showLabelTags(labels, labelled.filter((one) => tags.includes(one.label)), seek, (one) => off(one.label, "ghost small square"));
  };
  draw();
  put(room, chips, mine && h("form.tag-form", { onsubmit: add }, input, all, h("button.small", { type: "submit" }, "Add")), wrong, labels);
}
