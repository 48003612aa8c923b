// The API as the pages ask it: JSON in, JSON out, and every failure a `Problem` that can be shown as it stands.

/** What went wrong, as the server's problem+json says it, or as the network does (status 0). */
export class Problem extends Error {
  /** @param {number} status @param {Record<string, any>} body @param {number|null} [retryAfter] seconds */
  constructor(status, body, retryAfter = null) {
    super(body.detail ? `${body.title}: ${body.detail}` : body.title);
    this.status = status;
    this.title = body.title;
    this.detail = body.detail ?? "";
    this.fix = body.fix ?? "";
    this.requestId = body.request_id ?? "";
    this.errors = body.errors ?? [];
    this.body = body;
    this.retryAfter = retryAfter;
  }

  get offline() {
    return this.status === 0;
  }
}

const SAFE = new Set(["GET", "HEAD"]);
const PATIENCE = 3; // times that a busy server is asked again
let asked = null;

/** Who is logged in: {name, role, csrf_token, features}. Asked once a page. */
export function me() {
  asked ??= request("GET", "/v1/me").catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

const RANK = ["viewer", "reviewer", "senior", "admin"];

/** Whether who is logged in may do what takes this role. */
export async function may(role) {
  return RANK.indexOf((await me()).role) >= RANK.indexOf(role);
}

/** The headers that a request which changes something needs. */
export async function unsafeHeaders() {
  const token = (await me()).csrf_token;
  return token ? { "X-CSRF-Token": token } : {};
}

/** Put the session's token of now into headers; tell whether it is another one, as after a login in another tab. */
async function renewed(headers) {
  const before = headers["X-CSRF-Token"];
  asked = null;
  return before !== Object.assign(headers, await unsafeHeaders())["X-CSRF-Token"];
}

/**
 * Ask the server.
 * @param {string} method
 * @param {string} path
 * @param {{body?: any, signal?: AbortSignal, headers?: Record<string, string>, onWait?: (seconds: number) => void}} [options]
 *   body: FormData and Blob go as they are, anything else as JSON. onWait: the server is busy; it is asked again by itself.
 * @returns {Promise<any>} the answer's JSON; null where there is none
 */
export async function request(method, path, { body, signal, headers = {}, onWait } = {}) {
  const told = { Accept: "application/json", ...headers };
  if (!SAFE.has(method) && path !== "/v1/login") Object.assign(told, await unsafeHeaders());
  let sent = body;
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    told["Content-Type"] = "application/json";
    sent = JSON.stringify(body);
  }
  for (let tries = 0; ; tries++) {
    const response = await send(path, { method, headers: told, body: sent, signal, credentials: "same-origin" });
    if (response.ok) return read(response);
    const problem = await problemOf(response);
    if (problem.status === 401 && path !== "/v1/login") return toLogin();
    if (problem.status === 403 && told["X-CSRF-Token"] && !tries && (await renewed(told))) continue;
    if (problem.status !== 429 || !onWait || tries >= PATIENCE) throw problem;
    const seconds = Math.min(problem.retryAfter ?? 1, 30);
    onWait(seconds);
    await pause(seconds, signal);
  }
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { ...options, body });
export const put = (path, body, options) => request("PUT", path, { ...options, body });
export const remove = (path, options) => request("DELETE", path, options);

/** A path with the parameters that are neither empty nor null. */
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Listen to server-sent events whose data is JSON.
 * @param {string} path
 * @param {Record<string, (data: any) => void>} handlers by the event's name; `error` is told when the line is lost
 * @returns {() => void} what ends it
 */
export function follow(path, handlers) {
  const source = new EventSource(path);
  for (const [name, handler] of Object.entries(handlers)) {
    if (name === "error") source.onerror = () => handler(source.readyState === EventSource.CLOSED);
    else source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
  return () => source.close();
}

/** A problem of an answer that is not ok, whether it is problem+json or a proxy's page. */
export async function problemOf(response) {
  const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const json = (response.headers.get("Content-Type") ?? "").includes("json");
  const body = json ? await response.json().catch(() => ({})) : {};
  body.title ??= response.status === 429 ? "The server is busy" : `The server answered ${response.status}`;
  body.request_id ??= response.headers.get("X-Request-ID") ?? "";
  return new Problem(response.status, body, Number.isFinite(wait) ? wait : null);
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {
      title: navigator.onLine ? "The server cannot be reached" : "You are offline",
      detail: "nothing was lost: what you asked for is still here",
      fix: navigator.onLine ? "see whether `hit serve` runs, and try again" : "try again once the network is back",
    });
  }
}

async function read(response) {
  if (response.status === 204 || !(response.headers.get("Content-Type") ?? "").includes("json")) return null;
  return response.json();
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function toLogin() {
  const here = location.pathname + location.search;
  location.assign(withQuery("/login", { next: here === "/" ? "" : here }));
  return new Promise(() => {}); // the page is being left
}
