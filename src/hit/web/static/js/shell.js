// What every page has around it: who is logged in, and whether the server is there.
import { me, post } from "./api.js";
import { byId, h, icon, put, toast } from "./dom.js";

function showOffline() {
  const banner = byId("offline");
  banner.hidden = navigator.onLine;
  banner.textContent = navigator.onLine ? "" : "You are offline. What is on the page stays; searching goes on when the network is back.";
}

async function leave() {
  try {
    await post("/v1/logout");
    location.assign("/login");
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

async function showWho() {
  const who = await me();
  document.documentElement.dataset.role = who.role;
  if (!who.csrf_token) return; // nobody had to log in
  const out = h("button.ghost.square", { type: "button", "aria-label": "Log out", title: "Log out", onclick: leave }, icon("logout"));
  put(byId("who"), h("span.who-name", { title: who.role }, icon("user"), h("span", null, who.name)), out);
  byId("who").hidden = false;
}

window.addEventListener("online", showOffline);
window.addEventListener("offline", showOffline);
showOffline();
if (location.pathname !== "/login") {
  showWho().catch((problem) => {
    if (!problem.offline) throw problem;
  });
}
