// Webhooks: who is told, and what could not be delivered. For administrators.
import { get, may, post, remove } from "./api.js";
import { byId, confirmDialog, h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { ago, count, moment } from "./format.js";

const EVENTS = { "verdict.changed": "A verdict is another one", "case.decided": "A case is decided", "policy.changed": "A policy is in another state" };

async function act(request, said) {
  try {
    const told = await request();
    toast(typeof said === "function" ? said(told) : said);
    await load();
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

function row(one) {
  const path = `/v1/webhooks/${encodeURIComponent(one.name)}`;
  const forget = async () => (await confirmDialog(`Remove “${one.name}”?`, "It is told nothing any more; what waits for it is dropped.", "Remove")) && act(() => remove(path), "Removed");
  return h(
    "tr",
    { data: { webhook: one.name } },
    h("td.video-cell", null, h("strong", null, one.name), h("p.quiet.small", null, one.url)),
    h("td.small", null, one.events.map((event) => h("div", { title: event }, EVENTS[event] ?? event))),
    h("td.numbers", null, h("span.row", null, one.queued > 0 && h("span.badge", null, `${count(one.queued)} waiting`), one.dead > 0 && h("span.badge.bad", null, `${count(one.dead)} given up`), !one.queued && !one.dead && h("span.badge.good", null, "all told"))),
    h("td.actions", null, h("div.row.end", null, h("button.small", { type: "button", onclick: () => act(() => post(`${path}/test`), "A test is on its way") }, "Send a test"), h("button.small.ghost.square", { type: "button", "aria-label": `Remove ${one.name}`, title: "Remove", onclick: forget }, icon("trash")))),
  );
}

function ask() {
  const name = h("input", { type: "text", required: true, maxlength: 100, autocomplete: "off", placeholder: "the feed" });
  const url = h("input", { type: "url", required: true, maxlength: 2000, autocomplete: "off", placeholder: "https://example.org/hook" });
  const boxes = Object.entries(EVENTS).map(([event, label]) => [event, label, h("input", { type: "checkbox", checked: true, value: event })]);
  const wrong = h("p.wrong", { role: "alert" });
  const add = async (event) => {
    event.preventDefault();
    const events = boxes.filter(([, , box]) => box.checked).map(([one]) => one);
    if (!events.length) {
      wrong.textContent = "Choose at least one event";
      return;
    }
    try {
      const made = await post("/v1/webhooks", { name: name.value.trim(), url: url.value.trim(), events });
      dialog.close();
      secret(made);
      load();
    } catch (problem) {
      wrong.textContent = problem.errors?.length ? problem.errors.map((one) => `${one.where}: ${one.why}`).join("; ") : problem.message;
    }
  };
  const choices = h("fieldset.stack.tight", null, h("legend.small.quiet", null, "It is told when"), boxes.map(([, label, box]) => h("label.row.small", null, box, label)));
  const dialog = openDialog("Add a webhook", h("form.stack", { onsubmit: add }, h("label.field", null, "Name", name), h("label.field", null, "Address", url), choices, wrong, h("div.row.end", null, h("button.primary", { type: "submit" }, "Add"))));
  name.focus();
}

function secret(made) {
  const field = h("input", { type: "text", readonly: true, value: made.secret, "aria-label": "Secret", onfocus: () => field.select() });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(made.secret);
      toast("Copied");
    } catch {
      field.select(); // where the browser keeps the clipboard to itself
    }
  };
  const done = h("button.primary", { type: "button", onclick: () => dialog.close() }, "I have it");
  const dialog = openDialog(`The secret of “${made.name}”`, h("div.stack", null, h("p", null, "With it the receiver checks the signatures. It is shown this once, and kept nowhere."), h("div.row", null, h("div.grow.stack", null, field), h("button", { type: "button", onclick: copy }, "Copy")), h("div.row.end", null, done)));
  field.focus();
}

function letter(one) {
  return h("li", { data: { delivery: one.id } }, h("div", null, h("strong", null, one.event), ` to ${one.webhook ?? one.endpoint}`, h("p.small.wrong", null, one.error ?? "no answer")), h("span.row", null, h("time.quiet.small", { datetime: one.created_at, title: moment(one.created_at) }, ago(one.created_at)), h("button.small", { type: "button", "aria-label": `Try again: ${one.event}`, onclick: () => act(() => post(`/v1/webhooks/deliveries/${one.id}/retry`), "It is tried again") }, icon("retry"), "Try again")));
}

async function load() {
  const room = byId("list");
  try {
    const [{ webhooks }, { deliveries }] = await Promise.all([get("/v1/webhooks"), get("/v1/webhooks/deliveries?state=dead")]);
    const head = ["Webhook", "Is told when", "Deliveries", "Actions"].map((name) => h("th", { scope: "col" }, name === "Actions" ? h("span.hidden", null, name) : name));
    put(room, webhooks.length ? h("table.table.cases-table", null, h("thead", null, h("tr", null, head)), h("tbody", null, webhooks.map(row))) : stateView("info", "No webhooks", "Add the address of a program that wants to know."));
    byId("dead").hidden = !deliveries.length;
    put(byId("dead"), h("header", null, h("h2", null, "Given up"), h("p.quiet.small", null, "These were tried several times, longer and longer apart.")), h("ul.letters", null, deliveries.map(letter)));
  } catch (problem) {
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

async function begin() {
  if (!(await may("admin"))) {
    put(byId("list"), stateView("info", "For administrators", "Only they see and change who is told."));
    byId("list").setAttribute("aria-busy", "false");
    return;
  }
  put(byId("add"), h("button.primary", { type: "button", onclick: ask }, icon("plus"), "Add a webhook"));
  await load();
}

begin().catch((problem) => put(byId("list"), problemView(problem, () => location.reload())));
