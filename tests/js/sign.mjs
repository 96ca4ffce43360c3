// Calls the signer with what comes on standard input, and prints what came of each call.
// {"$": "bigint", "of": "7"} and its like stand for values that JSON lacks.

import { readFileSync } from "node:fs";

import { createSigner } from "../../signers/js/index.js";

const CIRCLE = {};
CIRCLE.again = CIRCLE;
const VALUES = {
  bigint: (of) => BigInt(of),
  date: (of) => new Date(of),
  number: (of) => Number(of),
  undefined: () => undefined,
  function: () => () => 7,
  symbol: () => Symbol("x"),
  map: () => new Map([["a", 1]]),
  set: () => new Set([1]),
  bytes: () => new Uint8Array(2),
  hole: () => [1, , 2], // eslint-disable-line no-sparse-arrays
  instance: () => new (class Tenant {})(),
  bare: (of) => Object.assign(Object.create(null), of),
  circle: () => CIRCLE,
  ownJson: () => ({ toJSON: () => 7 }),
  named: () => ({ [Symbol("x")]: 1 }),
  surrogate: () => "\ud800",
  proto: () => JSON.parse('{"__proto__": 7}'),
};

function revive(_, value) {
  return value !== null && typeof value === "object" && "$" in value ? VALUES[value.$](value.of) : value;
}

// JSON.parse drops members that a reviver makes undefined: those are put in afterwards
function undefineds(value) {
  for (const [name, member] of Object.entries(value ?? {})) {
    if (member === "$undefined") value[name] = undefined;
    else if (typeof member === "object" && member !== CIRCLE) undefineds(member);
  }
  return value;
}

const { options, calls } = JSON.parse(readFileSync(0, "utf8"), revive);
const results = [];
for (const { method, claims, own = {} } of calls) {
  try {
    const { clock, ...rest } = { ...options, ...own };
    const signer = createSigner(clock === undefined ? rest : { ...rest, clock: () => clock });
    results.push({ value: await signer[method](undefineds(claims)) });
  } catch (error) {
    results.push({ refused: error.name, message: error.message });
  }
}
console.log(JSON.stringify(results));
