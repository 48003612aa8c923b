// How much of what is reviewed a reviewer sees and hears at once. It begins mild, can be changed, and is remembered in the browser.
import { announce, h, put } from "./dom.js";

const KEY = "hit.review.wellness";
const MILD = { blur: true, grey: true, mute: true, stills: true, pause: 45 };
const SWITCHES = [
  ["blur", "Blur", "b"],
  ["grey", "Greyscale", "g"],
  ["mute", "Mute", "m"],
  ["stills", "Stills first", "v"],
];
const PAUSES = [0, 20, 30, 45, 60, 90];

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return { ...MILD, ...Object.fromEntries(Object.entries(found).filter(([name, value]) => typeof value === typeof MILD[name])) };
  } catch {
    return { ...MILD }; // storage may be forbidden, or hold something else
  }
}

/** How it is now: {blur, grey, mute, stills, pause (minutes until a break is suggested; 0: never)}. */
export const settings = kept();

const listeners = new Set();

/** @param {(settings: any) => void} listener called at once and for each change */
export function onWellness(listener) {
  listeners.add(listener);
  listener(settings);
  return () => listeners.delete(listener);
}

function change(name, value) {
  settings[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // then it holds for this page only
  }
  for (const listener of listeners) listener(settings);
}

/** Turn one of them. */
export function turn(name) {
  change(name, !settings[name]);
  const label = SWITCHES.find(([one]) => one === name)[1];
  announce(`${label}: ${settings[name] ? "on" : "off"}`);
}

/** The switches, in a group. */
export function wellnessBar() {
  const group = h("div.row.wellness", { role: "group", "aria-label": "How it is shown" });
  onWellness((now) => {
    const focus = group.contains(document.activeElement) ? document.activeElement.dataset.wellness : null;
    put(group, SWITCHES.map(([name, label, key]) => h("button.small.switch", { type: "button", "aria-pressed": String(now[name]), "aria-keyshortcuts": key, data: { wellness: name }, onclick: () => turn(name) }, label, h("kbd.for-keys", { "aria-hidden": "true" }, key.toUpperCase()))));
    if (focus) group.querySelector(`[data-wellness=${focus}]`)?.focus();
  });
  return group;
}

/** After how many minutes a break is suggested. */
export function pauseChoice() {
  const choose = h("select", { onchange: () => change("pause", Number(choose.value)) }, PAUSES.map((one) => h("option", { value: one, selected: one === settings.pause }, one ? `after ${one} minutes` : "never")));
  return h("label.field", null, "Suggest a break", choose);
}
