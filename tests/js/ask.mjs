// Asks a real gateway through the browser client, and prints what came of each scene.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { createClient } from "../../signers/js/client.js";

const { url, fresh, expired, brief } = JSON.parse(readFileSync(0, "utf8"));
const SUM = "SELECT SUM(amount) AS s FROM orders";

/** A client whose identityCallback gives these one after the other, the last one again and again; counts questions and requests. */
function counted(answers, more = {}) {
  const seen = { identities: 0, requests: 0, headers: [] };
  const client = createClient({
    url,
    identityCallback: async () => {
      const answer = answers[Math.min(seen.identities++, answers.length - 1)];
      return typeof answer === "function" ? answer() : typeof answer === "string" ? { dataAccessToken: answer } : answer;
    },
    fetch: (...asked) => {
      seen.requests += 1;
      seen.headers.push(Object.keys(asked[1].headers).sort());
      return fetch(...asked);
    },
    ...more,
  });
  return { client, seen };
}

async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    const { name, code, status, detail, hint, requestId, line, column, message } = error;
    return { name, code, status, detail, hint, requestId, line, column, message };
  }
}

const later = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** A server of something else, for one scene. */
async function elsewhere(answer, scene) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    return await scene(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const SCENES = {
  async answers() {
    const { client, seen } = counted([fresh]);
    return {
      all: await client.query(SUM),
      some: await client.query("SELECT COUNT(*) AS n FROM orders WHERE amount > :least", { least: 15 }, { dataSetId: "orders" }),
      datasets: (await client.datasets()).map(({ id }) => id),
      seen,
    };
  },
  async signedOut() {
    const { client, seen } = counted([null]);
    return { outcome: await outcome(client.query(SUM)), seen };
  },
  async signedOutAndIn() {
    const { client, seen } = counted([null, fresh]);
    return { first: await outcome(client.query(SUM)), second: (await client.query(SUM)).rows, seen };
  },
  async expired() {
    const { client, seen } = counted([expired, fresh]);
    return { rows: (await client.query(SUM)).rows, seen };
  },
  async expiredForEver() {
    const { client, seen } = counted([expired]);
    return { outcome: await outcome(client.query(SUM)), seen };
  },
  async expiredAndSignedOut() {
    const { client, seen } = counted([expired, null]);
    return { outcome: await outcome(client.query(SUM)), seen };
  },
  async manyAtOnce() {
    const { client, seen } = counted([expired, fresh]);
    const answers = await Promise.all(Array.from({ length: 12 }, () => client.query(SUM)));
    return { rows: answers.map(({ rows }) => rows), identities: seen.identities };
  },
  async refusal() {
    const { client } = counted([fresh]);
    return [await outcome(client.query("SELECT missing FROM orders")), await outcome(client.query("SELECT 1 AS one FROM salaries"))];
  },
  async otherRefusalsAskNobodyAgain() {
    const { client, seen } = counted(["not.a.token"]);
    return { outcome: await outcome(client.query(SUM)), seen };
  },
  async largeNumbers() {
    const { client } = counted([fresh]);
    const sql = "SELECT 9007199254740993 AS a, -9007199254740993 AS b, 9007199254740991 AS c, 0.12345678901234567 AS d, '9007199254740993' AS e FROM orders LIMIT 1";
    const { rows } = await client.query(sql);
    return rows[0].map((value) => [typeof value, String(value)]);
  },
  async parameters() {
    const { client } = counted([fresh]);
    const ask = async (value) => {
      const answer = await outcome(client.query("SELECT :x AS x FROM orders LIMIT 1", { x: value }));
      return answer.rows ? String(answer.rows[0][0]) : answer.code;
    };
    return [await ask(9007199254740993n), await ask("ä>?~"), await ask(2 ** 53), await ask(NaN), await ask(undefined), await ask(new Map())];
  },
  async abortedBefore() {
    const { client, seen } = counted([fresh]);
    return { outcome: await outcome(client.query(SUM, undefined, { signal: AbortSignal.abort() })), seen };
  },
  async abortedWhileAsking() {
    let give;
    const { client, seen } = counted([() => new Promise((resolve) => (give = resolve))]);
    const leaving = new AbortController();
    const left = outcome(client.query(SUM, undefined, { signal: leaving.signal }));
    const stays = client.query(SUM);
    await later(0.01);
    leaving.abort(new Error("left the page"));
    const outcomeOfLeft = await left;
    give({ dataAccessToken: fresh });
    return { left: outcomeOfLeft.message, stays: (await stays).rows, seen };
  },
  async abortedInFlight() {
    return elsewhere(
      () => {}, // never answers
      async (silent) => {
        const { client } = counted([fresh], { url: silent });
        return outcome(client.query(SUM, undefined, { signal: AbortSignal.timeout(50) }));
      },
    );
  },
  async unreachable() {
    const gone = await elsewhere(() => {}, async (address) => address);
    return outcome(counted([fresh], { url: gone }).client.query(SUM));
  },
  async somethingElse() {
    const page = (_, response) => response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
    return elsewhere(page, (address) => outcome(counted([fresh], { url: address }).client.query(SUM)));
  },
  async redirected() {
    const asked = [];
    const away = (request, response) => {
      asked.push(request.url);
      response.writeHead(307, { location: "/elsewhere" }).end();
    };
    return elsewhere(away, async (address) => ({ outcome: await outcome(counted([fresh], { url: address }).client.query(SUM)), asked }));
  },
  async failingIdentity() {
    const { client, seen } = counted([() => Promise.reject(new Error("login is down")), { token: "x" }, fresh]);
    return [(await outcome(client.query(SUM))).message, (await outcome(client.query(SUM))).name, (await client.query(SUM)).rows, seen.requests];
  },
  async forgotten() {
    const { client, seen } = counted([fresh]);
    await client.query(SUM);
    client.forget();
    await client.query(SUM);
    return seen.identities;
  },
  async forgottenWhileAsking() {
    let give;
    const { client, seen } = counted([() => new Promise((resolve) => (give = resolve)), fresh]);
    const first = outcome(client.query(SUM));
    await later(0.01);
    client.forget();
    const second = client.query(SUM);
    give({ dataAccessToken: "of.somebody.else" });
    return { first: (await first).name, second: (await second).rows, seen };
  },
  async ahead() {
    let now = 0;
    const { client, seen } = counted([brief, fresh], { clock: () => now });
    const asked = [];
    for (const seconds of [0, 60, 94, 98, 99]) {
      now = seconds * 1000;
      await client.query(SUM);
      asked.push([seconds, seen.identities]);
    }
    return asked;
  },
};

const outcomes = {};
for (const [name, scene] of Object.entries(SCENES)) outcomes[name] = await scene();
console.log(JSON.stringify(outcomes));
