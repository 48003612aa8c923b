// The cases that this tab holds: claimed, kept alive, decided, given back. It knows nothing of how they look.
import { get, post, unsafeHeaders } from "./api.js";

const RETRY = [1000, 2000, 4000, 8000, 15_000]; // milliseconds between tries to reach a server that is away
const GONE = new Set([403, 404, 409, 410, 412]);

const pathOf = (one, verb = "") => `/v1/review/assignments/${one.id}${verb && `/${verb}`}`;
const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Whether a refusal means that a case is no longer ours. */
const isLost = (problem) => GONE.has(problem.status);

/**
 * @param {{onlost: (assignment: any, problem: any) => void, onreach: (reached: boolean) => void}} told
 *   onlost: a case went back to the queue; onreach: whether the server was heard, each time that is known anew
 */
export function leases({ onlost, onreach }) {
  /** @type {Map<number, {assignment: any, timer: number, misses: number, body: any}>} */
  const held = new Map();
  let headers = {};

  function keep(assignment) {
    const one = { assignment, timer: 0, misses: 0, body: null };
    held.set(assignment.id, one);
    beatLater(one, assignment.lease_seconds);
    return assignment;
  }

  function drop(assignment) {
    const one = held.get(assignment.id);
    clearTimeout(one?.timer);
    held.delete(assignment.id);
  }

  function beatLater(one, lease) {
    clearTimeout(one.timer);
    const wait = one.misses ? RETRY[Math.min(one.misses, RETRY.length) - 1] : (lease * 1000) / 3;
    one.timer = setTimeout(() => beat(one), wait);
  }

  async function beat(one) {
    const { assignment } = one;
    try {
      const told = await post(pathOf(assignment, "heartbeat"), { claim: assignment.claim });
      one.misses = 0;
      Object.assign(assignment, { lease_until: told.lease_until, lease_seconds: told.lease_seconds });
      onreach(true);
    } catch (problem) {
      if (held.get(assignment.id) !== one) return; // it was decided or given back meanwhile
      if (isLost(problem)) {
        drop(assignment);
        onlost(assignment, problem);
        return;
      }
      one.misses += 1;
      if (problem.offline) onreach(false);
    }
    if (held.get(assignment.id) === one) beatLater(one, assignment.lease_seconds);
  }

  /** What leaves the page's last moment: the browser sends it though the page is gone. */
  function send(one, verb, body) {
    const told = { "Content-Type": "application/json", ...headers };
    fetch(pathOf(one.assignment, verb), { method: "POST", headers: told, body: JSON.stringify(body), keepalive: true, credentials: "same-origin" }).catch(() => {});
  }

  return {
    held,
    /** Take what this person holds already, as after a crash. @returns {Promise<any[]>} */
    async resume() {
      headers = await unsafeHeaders();
      const { assignments } = await get("/v1/review/assignments");
      return assignments.filter((one) => !held.has(one.id)).map(keep);
    },
    /** @param {{policy?: string, severity_min?: number}} wanted @returns {Promise<any|null>} null where there is nothing to do */
    async claim(wanted, hold) {
      const found = await post("/v1/review/claim", { ...wanted, hold });
      onreach(true);
      return found && keep(found);
    },
    /** Send a decision, again and again until the server has it. Throws where it is refused. */
    async decide(assignment, body) {
      const one = held.get(assignment.id);
      if (one) one.body = body;
      for (let tries = 0; ; tries++) {
        try {
          const told = await post(pathOf(assignment, "decide"), body, { headers: { "Idempotency-Key": `decide-${assignment.claim}` } });
          drop(assignment);
          onreach(true);
          return told;
        } catch (problem) {
          if (problem.status !== 0 && problem.status !== 429 && problem.status < 500) {
            drop(assignment);
            throw problem;
          }
          onreach(problem.status !== 0);
          await later(RETRY[Math.min(tries, RETRY.length - 1)]);
        }
      }
    },
    async skip(assignment, reason) {
      await post(pathOf(assignment, "skip"), { claim: assignment.claim, reason });
      drop(assignment);
    },
    /** Give everything back, but for decisions that are on their way. */
    async release() {
      const all = [...held.values()].filter((one) => !one.body);
      for (const one of all) drop(one.assignment);
      await Promise.all(all.map((one) => post(pathOf(one.assignment, "release"), { claim: one.assignment.claim }).catch(() => {}))); // else the lease ends by itself
    },
    /** The page is being left. */
    leave() {
      for (const one of held.values()) {
        clearTimeout(one.timer);
        if (one.body) send(one, "decide", one.body);
        else send(one, "release", { claim: one.assignment.claim });
      }
      held.clear();
    },
    /** Another tab goes on with them. */
    forget() {
      for (const one of held.values()) if (!one.body) drop(one.assignment);
    },
    /** Tell the server now: after a sleep, or when the network is back. */
    beat() {
      for (const one of held.values()) if (!one.body) beat(one);
    },
    /** Decisions that the server has not confirmed. */
    waiting: () => [...held.values()].filter((one) => one.body).length,
  };
}

/** One tab of a browser works at a time. @param {() => void} ontaken another one goes on */
export function oneTab(ontaken) {
  const channel = new BroadcastChannel("hit.review");
  let working = false;
  let heard = () => {};
  channel.addEventListener("message", ({ data }) => {
    if (data === "who" && working) channel.postMessage("here");
    else if (data === "here") heard();
    else if (data === "mine" && working) {
      working = false;
      ontaken();
    }
  });
  return {
    /** Whether another tab works. */
    another: () =>
      new Promise((resolve) => {
        heard = () => resolve(true);
        channel.postMessage("who");
        setTimeout(() => resolve(false), 120);
      }),
    begin() {
      working = true;
      channel.postMessage("mine");
    },
    end: () => (working = false),
  };
}
