// What is in the library: clusters of its segments with names for them, and groups of near-duplicate videos.
import { get, withQuery } from "./api.js";
import { segmentCard, videoCard } from "./card.js";
import { announce, byId, debounce, h, problemView, put, stateView } from "./dom.js";
import { percent, plural } from "./format.js";
import { cardKeys, keys } from "./keys.js";
import { choice } from "./menus.js";
import { previewSegment } from "./preview.js";

const VIEWS = ["clusters", "duplicates"];
const ABOUT = {
  clusters: "Moments that look and sound alike, named by the texts that fit them best and the others least.",
  duplicates: "Videos that show nearly the same from beginning to end, as the model sees it.",
};
const INKS = 7; // .ink0 to .ink6 in explore.css
const DEFAULTS = { method: "kmeans", count: "", names: "", similarity: "0.97" };

let asked = null;

function wanted() {
  const given = new URLSearchParams(location.search);
  const view = VIEWS.includes(given.get("view")) ? given.get("view") : VIEWS[0];
  return { view, ...Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value])) };
}

function go(change) {
  const state = { ...wanted(), ...change };
  const own = state.view === "clusters" ? ["method", "count", "names"] : ["similarity"];
  const told = Object.fromEntries(own.filter((name) => state[name] !== DEFAULTS[name]).map((name) => [name, state[name]]));
  history.pushState(null, "", withQuery("/explore", { view: state.view === VIEWS[0] ? "" : state.view, ...told }));
  load();
}

// -- clusters

const title = (cluster) => cluster.names[0]?.text ?? `Cluster ${cluster.id + 1}`;
const search = (text) => withQuery("/", { q: text });

function group(cluster, i) {
  const [first, ...others] = cluster.names;
  const fits = (name) => `Score ${name.score.toFixed(3)}: search for “${name.text}”`;
  return h(
    "li.group",
    { id: `cluster-${cluster.id}`, class: `ink${i % INKS}`, tabindex: -1 },
    h(
      "header",
      null,
      h("h2", null, h("i", { "aria-hidden": "true" }), first ? h("a", { href: search(first.text), title: fits(first) }, first.text) : title(cluster)),
      h("span.quiet", null, others.map((name, j) => [j > 0 && " · ", h("a", { href: search(name.text), title: fits(name) }, name.text)])),
    ),
    h("p.quiet.small.numbers", null, `${percent(cluster.share)} · ${plural(cluster.size, "moment")} of ${plural(cluster.videos, "video")}`),
    h("span.share", { "aria-hidden": "true" }, h("span", { style: { width: `${cluster.share * 100}%` } })),
    h("div.grid", null, cluster.samples.map((one) => segmentCard(one, { onpreview: previewSegment, scored: false }))),
  );
}

function clusters(answer) {
  const all = answer.clusters;
  if (!all.length) return stateView("explore", "Nothing to group", answer.segments ? "No group of moments stands out: try the other method, or ask for a number of groups." : "There are no videos yet.");
  const bar = h("nav.overview", { "aria-label": "Clusters by size" }, all.map((one, i) => h("a", { href: `#cluster-${one.id}`, class: `ink${i % INKS}`, title: `${title(one)}: ${percent(one.share)}`, "aria-label": `${title(one)}, ${percent(one.share)}`, style: { "flex-grow": one.size } })));
  const rest = answer.noise > 0 && `, and ${plural(answer.noise, "moment")} that fit none`;
  return [h("p.quiet.small", null, `${plural(all.length, "cluster")} of ${plural(answer.segments, "moment")}${rest || ""}, by the model ${answer.model.id}, revision ${answer.model.revision}`), bar, h("ul.groups", null, all.map(group))];
}

// -- near-duplicates

function duplicates(answer) {
  if (!answer.groups.length) return stateView("similar", "No near-duplicates", `Of ${plural(answer.compared, "video")} no two are as similar as that. Ask for less to see more.`);
  const view = (one, i) =>
    h("li.group", { class: `ink${i % INKS}` }, h("header", null, h("h2", null, plural(one.size, "video")), h("span.quiet.numbers", { title: "Of the last of all to the first" }, `similarity ${one.similarity.toFixed(3)}`)), h("span.share", { "aria-hidden": "true" }, h("span", { style: { width: `${one.similarity * 100}%` } })), h("div.grid", null, one.videos.map((video) => videoCard({ ...video, id: video.video_id, status: "ready", tags: [] }))), one.size > one.videos.length && h("p.quiet.small", null, `and ${plural(one.size - one.videos.length, "more", "more")}`));
  return [h("p.quiet.small", null, `${plural(answer.groups.length, "group")} among ${plural(answer.compared, "video")}`), h("ul.groups", null, answer.groups.map(view))];
}

// -- the page

/** What can be asked for. A field in which somebody types is left alone. */
async function controls({ view, method, count: number, names, similarity }) {
  const field = (label, element) => h("label.field", null, label, element);
  const soon = debounce(go, 500);
  if (view === "duplicates") {
    const least = h("input", { type: "number", min: 0.5, max: 1, step: 0.01, value: similarity, oninput: () => least.value && least.checkValidity() && soon({ similarity: least.value }) });
    return put(byId("wanted"), field("As similar as", least));
  }
  const { label_sets: sets } = await get("/v1/label-sets").catch(() => ({ label_sets: [] }));
  const options = (all, chosen) => all.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  const by = h("select", { onchange: () => go({ method: by.value }) }, options([["kmeans", "A number of groups (k-means)"], ["hdbscan", "As many as stand out (HDBSCAN)"]], method));
  const many = h("input", { type: "number", min: 2, max: 100, step: 1, value: number, placeholder: "auto", oninput: () => many.checkValidity() && soon({ count: many.value }) });
  const named = h("select", { onchange: () => go({ names: named.value }) }, options([["", "Words of the library"], ...sets.map((one) => [one.name, one.name])], names));
  return put(byId("wanted"), field("Grouped into", by), method === "kmeans" && field("Groups", many), sets.length > 0 && field("Named by", named));
}

async function load() {
  asked?.abort();
  const mine = (asked = new AbortController());
  const state = wanted();
  const room = byId("found");
  showView(state.view);
  byId("about").textContent = ABOUT[state.view];
  document.title = `${state.view === "clusters" ? "Explore" : "Near-duplicates"} · HiT`;
  if (!document.activeElement?.matches("#wanted input")) controls(state);
  room.setAttribute("aria-busy", "true");
  const skeleton = () => h("li.group", null, h("div.skeleton.line"), h("div.grid", null, Array.from({ length: 6 }, () => h("div.thumb.skeleton"))));
  put(room, h("p.quiet", { role: "status" }, "Looking at every moment. The first time this may take some seconds …"), h("ul.groups", { "aria-hidden": "true" }, skeleton(), skeleton()));
  try {
    const path = state.view === "clusters" ? withQuery("/v1/clusters", { method: state.method, count: state.method === "kmeans" ? state.count : "", label_set: state.names }) : withQuery("/v1/duplicates", { similarity: state.similarity });
    const onWait = (seconds) => mine === asked && put(room, h("p.quiet", { role: "status" }, `The server is busy; asking again in ${Math.ceil(seconds)} s.`));
    const answer = await get(path, { signal: mine.signal, onWait });
    if (mine !== asked) return;
    put(room, state.view === "clusters" ? clusters(answer) : duplicates(answer));
    announce(state.view === "clusters" ? plural(answer.clusters.length, "cluster") : plural(answer.groups.length, "group"));
  } catch (problem) {
    if (mine !== asked || problem.name === "AbortError") return;
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

const showView = choice(byId("views"), (view) => go({ view }));
keys(cardKeys(byId("found")));
window.addEventListener("popstate", load);
load();
