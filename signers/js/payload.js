// Claims -> the text that is signed: JSON in ASCII with one spelling, which the verifier reads as what was meant.

// An object of a payload is its first level.
const DEPTH = 16;
const DIGITS = 80;

/** These claims are not signed, because the verifier would refuse them, they say something else than was meant, or they give a secret away. */
export class SigningRefused extends Error {
  name = "SigningRefused";
}

/** The value in JSON's own types, dates as text, BigInt as it is. Throws SigningRefused for whatever JSON would drop, round or rename. */
export function plain(value, depth = 1) {
  switch (typeof value) {
    case "string":
      if (/[\0\p{Surrogate}]/u.test(value)) throw new SigningRefused("a string holds NUL or half of a surrogate pair");
      return value;
    case "boolean":
      return value;
    case "bigint":
      if (String(value).length > DIGITS) throw new SigningRefused(`an integer is longer than ${DIGITS} characters`);
      return value;
    case "number":
      if (!Number.isFinite(value)) throw new SigningRefused("the claims hold NaN or Infinity, which JSON cannot carry");
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        throw new SigningRefused("an integer beyond Number.MAX_SAFE_INTEGER may have been rounded already: write it as a BigInt");
      }
      return value;
    case "object":
      break;
    default: // undefined, functions, symbols: JSON would leave them out in silence
      throw new SigningRefused(`a value of type ${typeof value} has no spelling in JSON: leave it out, or write a string, number, date, true, false or null`);
  }
  if (value === null) return value;
  if (value instanceof Date) {
    const text = Number.isNaN(value.getTime()) ? "" : value.toISOString();
    if (!/^\d{4}-/.test(text)) throw new SigningRefused("a date is none that can be written");
    return text;
  }
  if (depth > DEPTH) throw new SigningRefused(`the claims hold themselves, or are nested deeper than ${DEPTH} levels`);
  if (Array.isArray(value)) return Array.from(value, (item) => plain(item, depth + 1));
  const parent = Object.getPrototypeOf(value);
  // the prototype of an object of another realm (a test runner's, a worker's) is not ours, but the end of its chain too
  if (parent !== null && Object.getPrototypeOf(parent) !== null) {
    throw new SigningRefused("an object of a class (a Map, a Set, an ORM's row) has no one spelling in JSON: write a plain object or a list");
  }
  if (Object.getOwnPropertySymbols(value).length > 0) throw new SigningRefused("names of claims, dataset ids and filter members must be strings");
  const members = Object.create(null);
  for (const name of Object.keys(value)) members[plain(name)] = plain(value[name], depth + 1);
  return members;
}

/** What `plain` gave, as JSON in ASCII. */
export function write(value) {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string") return text(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  return `{${Object.keys(value)
    .map((name) => `${text(name)}:${write(value[name])}`)
    .join(",")}}`;
}

// Browsers' atob, with which the vendor's dashboards peek into a token, knows neither `-` nor `_`, and makes one character of each byte.
// In base64 of ASCII only `>`, `~`, `?` and DEL produce the two, and JSON can spell each as an escape.
function text(value) {
  return JSON.stringify(value).replace(/[>~?\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
