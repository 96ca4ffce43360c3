// Asks a rowseal gateway from a browser (or from anything with fetch). The token is kept in memory and nowhere else.

import { plain, write } from "./payload.js";

const EXPIRES_IN = "x-token-expires-in";
const AHEAD_SECONDS = 30;

/** The gateway, or the way to it, said no. `code` is one of docs/reference/errors.md, `unreachable` or `unexpected_answer`. */
export class RowsealError extends Error {
  name = "RowsealError";

  constructor({ code, status, detail, hint, requestId, line, column }, options) {
    super(`${code}: ${detail}`, options);
    Object.assign(this, { code, status, detail, hint, requestId, line, column });
  }
}

/** Nobody is signed in: `identityCallback` gave null. Nothing was sent. */
export class SignedOut extends Error {
  name = "SignedOut";

  constructor() {
    super("nobody is signed in");
  }
}

/** A client of one gateway. `identityCallback` gives the tokens that the page's own server signed, or null where nobody is signed in. */
export function createClient({ url, identityCallback, fetch = globalThis.fetch, clock = Date.now }) {
  const base = new URL(url);
  if (!["http:", "https:"].includes(base.protocol)) throw new TypeError("`url` must be an http or https address");
  if (typeof identityCallback !== "function") throw new TypeError("`identityCallback` must be a function that gives tokens, or null");
  const at = (path) => `${base.origin}${base.pathname.replace(/\/+$/, "")}${path}`;

  /** The token in use: `{token, until}`, the second once an answer said for how long. */
  let held = null;
  /** The question that is on its way to `identityCallback`, for all who wait for its answer. */
  let asking = null;
  /** Whether what is asked belongs to who was signed in then. */
  let turn = 0;

  function identity() {
    if (asking === null) {
      const mine = ask(turn).finally(() => {
        if (asking === mine) asking = null;
      });
      asking = mine;
    }
    return asking;
  }

  async function ask(mine) {
    held = null;
    const tokens = await identityCallback();
    if (tokens === null || turn !== mine) throw new SignedOut();
    const token = tokens?.dataAccessToken;
    if (typeof token !== "string" || token === "") {
      throw new TypeError("`identityCallback` must give an object with `dataAccessToken`, as the signer makes it, or null");
    }
    held = { token, until: Infinity };
    return held;
  }

  async function send(path, body, signal) {
    for (let again = false; ; again = true) {
      signal?.throwIfAborted();
      const used = held !== null && clock() < held.until ? held : await unlessAborted(identity(), signal);
      const answer = await fetched(path, body, used.token, signal);
      note(used, answer.headers.get(EXPIRES_IN));
      const text = await read(answer, signal);
      if (answer.ok) return parse(text, answer);
      const error = refusal(text, answer);
      if (error.code !== "token_expired" || again) throw error;
      // another query may have met the end of this token first, and have a fresh one already
      if (held === used) held = null;
    }
  }

  /** An answer says how long its token lives: the next one is asked for a little before that, by a fifth of its life at most. */
  function note(used, header) {
    if (used.until === Infinity && header !== null && /^\d{1,9}(\.\d+)?$/.test(header)) {
      const left = Number(header);
      used.until = clock() + (left - Math.min(AHEAD_SECONDS, left / 5)) * 1000;
    }
  }

  async function fetched(path, body, token, signal) {
    const headers = { authorization: `Bearer ${token}`, accept: "application/json, application/problem+json" };
    const more = body === undefined ? { method: "GET" } : { method: "POST", body, headers: { ...headers, "content-type": "application/json" } };
    try {
      // A redirect would carry the token somewhere else, a cache would keep what it opened.
      return await fetch(at(path), { headers, ...more, signal, redirect: "error", cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
    } catch (failure) {
      signal?.throwIfAborted();
      throw unreachable(failure);
    }
  }

  return Object.freeze({
    /** Run one SELECT. `params` has a value for each `:name`; `dataSetId` names the one dataset that it reads. */
    async query(sql, params, { dataSetId, signal } = {}) {
      const ask = { sql, ...(params === undefined ? {} : { params }), ...(dataSetId === undefined ? {} : { dataSetId }) };
      return send("/v1/query", body(ask), signal);
    },
    /** The datasets that the token grants, with their fields. */
    async datasets({ signal } = {}) {
      return (await send("/v1/datasets", undefined, signal)).datasets;
    },
    /** Forget the token, such as when somebody else signs in. What still waits for one is rejected with SignedOut. */
    forget() {
      held = null;
      asking = null;
      turn += 1;
    },
  });
}

function body(ask) {
  try {
    return write(plain(ask));
  } catch (failure) {
    throw new RowsealError({ code: "parameter_refused", detail: failure.message, hint: "send a string, a number, a boolean or null" }, { cause: failure });
  }
}

async function read(answer, signal) {
  try {
    return await answer.text();
  } catch (failure) {
    signal?.throwIfAborted();
    throw unreachable(failure);
  }
}

/** JSON whose integers beyond Number.MAX_SAFE_INTEGER are BigInt: JSON.parse would round them in silence. */
function parse(text, answer) {
  try {
    if (!/\d{16}/.test(text)) return JSON.parse(text);
    const mark = `${Math.random()}:`;
    const marked = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (found) =>
      !/^-?\d{16,}$/.test(found) || Number.isSafeInteger(Number(found)) ? found : `"${mark}${found}"`,
    );
    return JSON.parse(marked, (_, value) => (typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value));
  } catch {
    throw unexpected(answer);
  }
}

function refusal(text, answer) {
  let problem = null;
  if (answer.headers.get("content-type")?.startsWith("application/problem+json")) {
    try {
      problem = JSON.parse(text);
    } catch {
      // answered below
    }
  }
  if (typeof problem?.code !== "string") return unexpected(answer);
  return new RowsealError({ ...problem, status: answer.status, requestId: problem.request_id });
}

function unexpected(answer) {
  return new RowsealError({
    code: "unexpected_answer",
    status: answer.status,
    detail: "what answered is no rowseal gateway, or something stands between",
    hint: "check the address, and what proxies on the way answer themselves",
    requestId: answer.headers.get("x-request-id") ?? undefined,
  });
}

function unreachable(cause) {
  const hint = "check the address, the network, and whether the gateway allows this page's origin (CORS)";
  return new RowsealError({ code: "unreachable", detail: "the gateway could not be reached", hint }, { cause });
}

/** The promise's answer, unless the signal comes first: whoever else waits for the same promise goes on waiting. */
function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
