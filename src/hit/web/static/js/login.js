// Logging in with a token.
import { post } from "./api.js";
import { byId } from "./dom.js";

const form = /** @type {HTMLFormElement} */ (byId("login"));
const field = /** @type {HTMLInputElement} */ (byId("token"));
const wrong = byId("login-wrong");
const send = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));

const next = new URLSearchParams(location.search).get("next") || "/";

/** Go on where somebody is logged in already: with a link of another site the browser has not said so. */
async function goOn() {
  const to = new URL(next, location.href);
  const who = await (await fetch("/v1/me", { credentials: "same-origin" })).json();
  if (who.csrf_token && to.origin === location.origin && to.pathname !== location.pathname) location.replace(to);
}

function say(text) {
  wrong.textContent = text;
  wrong.hidden = !text;
  field.setAttribute("aria-invalid", String(Boolean(text)));
}

/** Count down while the server takes no more attempts. */
function wait(seconds) {
  send.disabled = true;
  const tick = (left) => {
    if (left <= 0) {
      send.disabled = false;
      return say("");
    }
    say(`Too many attempts. Another is taken in ${left} s.`);
    setTimeout(tick, 1000, left - 1);
  };
  tick(Math.ceil(seconds));
}

function explain(problem) {
  if (problem.status === 429) return wait(problem.retryAfter ?? 30);
  send.disabled = false;
  if (problem.status === 401) say("This token is not valid: mistyped, expired or revoked.");
  else say(problem.fix ? `${problem.message}. Try: ${problem.fix}` : problem.message);
  field.select();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = field.value.trim();
  if (!token) {
    say("Enter a token.");
    return field.focus();
  }
  say("");
  send.disabled = true;
  try {
    const who = await post("/v1/login", { token, next: next.slice(0, 4000) });
    location.replace(who.next ?? "/");
  } catch (problem) {
    explain(problem);
  }
});

const reveal = byId("reveal");
reveal.addEventListener("click", () => {
  const shown = field.type === "text";
  field.type = shown ? "password" : "text";
  reveal.textContent = shown ? "Show" : "Hide";
  reveal.setAttribute("aria-pressed", String(!shown));
  field.focus();
});
field.addEventListener("input", () => !send.disabled && say(""));
field.focus();
goOn().catch(() => {}); // then one logs in
